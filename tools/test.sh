#!/usr/bin/env bash
# Builds everything and runs the tests; see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'EOF'
usage: tools/test.sh [option of ctest ...]

Installs what is missing (tools/setup.sh), builds everything in build/ and runs the tests. Where clang is, the fuzz
targets follow, built in build-fuzz/, 20 seconds each. Options go to ctest as they are, and leave out the fuzz targets;
for instance those whose names match, with all their output:
  tools/test.sh -R FftConv -V

Tests of files that other software must read are skipped where its Python packages are not there. With MARA_CHECKS=ON
in the environment they are installed too (tools/setup.sh --checks), and what is missing all the same is an error.
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

checks=${MARA_CHECKS:-OFF}
if [[ $checks == OFF ]]; then tools/setup.sh; else tools/setup.sh --checks; fi

# A CUDA compiler alone is no reason to spend minutes on the GPU's kernels.
cuda=OFF
if nvidia-smi -L >/dev/null 2>&1; then cuda=AUTO; fi
# Only a build folder's first configuration looks at this variable, so one made with another generator goes on working.
export CMAKE_GENERATOR=Ninja
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DMARA_TESTS=ON -DMARA_CHECKS="$checks" -DMARA_CUDA="$cuda" >/dev/null ||
  die "configuring failed, see above. If build/ is left from something else, delete it and try again."
cmake --build build --parallel "$(nproc)" || die "building failed, see above"
built=$SECONDS

# One thread per test process, as many processes as cores; what a test says about threads it sets itself.
OMP_NUM_THREADS=1 ctest --test-dir build --output-on-failure --no-tests=error --parallel "$(nproc)" "$@" ||
  die "tests failed, see above. One of them alone: tools/test.sh -R '^NAME\$' -V"
say "set up and built in $built s, tested in $((SECONDS - built)) s"
tested=$SECONDS

if (($#)); then exit; fi
if ! { command -v clang++ && cmake -S . -B build-fuzz -DMARA_FUZZ=ON; } >build/fuzz.log 2>&1; then
  [[ $checks == OFF ]] || die "the fuzz targets cannot be built, see build/fuzz.log"
  say "the fuzz targets are left out, they need clang with its libraries; tools/setup.sh --checks installs them"
  exit
fi
cmake --build build-fuzz --parallel "$(nproc)" || die "building the fuzz targets failed, see above"
ctest --test-dir build-fuzz --output-on-failure --no-tests=error --parallel "$(nproc)" ||
  die "fuzzing found something, see above; the input is in build-fuzz/, and NAME_fuzz INPUT runs it again"
say "built and ran the fuzz targets in $((SECONDS - tested)) s"
