#!/usr/bin/env bash
# Builds everything and runs the tests; see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'EOF'
usage: tools/test.sh [option of ctest ...]

Installs what is missing (tools/setup.sh), builds everything in build/ and runs the tests. Options go to ctest as they
are, for instance those whose names match, with all their output:
  tools/test.sh -R FftConv -V
EOF
}

say() { printf 'test: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

case "${1-}" in
  -h | --help) usage && exit ;;
esac

tools/setup.sh

# Only a build folder's first configuration looks at this variable, so one made with another generator goes on working.
export CMAKE_GENERATOR=Ninja
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DMARA_TESTS=ON >/dev/null ||
  die "configuring failed, see above. If build/ is left from something else, delete it and try again."
cmake --build build --parallel "$(nproc)" || die "building failed, see above"
built=$SECONDS

# One thread per test process, as many processes as cores; what a test says about threads it sets itself.
OMP_NUM_THREADS=1 ctest --test-dir build --output-on-failure --no-tests=error --parallel "$(nproc)" "$@" ||
  die "tests failed, see above. One of them alone: tools/test.sh -R '^NAME\$' -V"
say "set up and built in $built s, tested in $((SECONDS - built)) s"
