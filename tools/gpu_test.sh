#!/usr/bin/env bash
# Builds for the GPU of this machine and tests everything on it; see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'EOT'
usage: tools/gpu_test.sh [--no-setup] [--no-sanitizer]

On a machine with an NVIDIA GPU and CUDA 13: builds in build-gpu/ for sm_80 and sm_90a, runs 'mara check' on every recipe
in recipes/tests, all tests on the CPU and the GPU, and the kernel tests once more under compute-sanitizer (memcheck,
synccheck, racecheck).

  --no-setup      do not install packages (tools/setup.sh) first
  --no-sanitizer  leave compute-sanitizer out, which takes most of the time
EOT
}

say() { printf 'gpu_test: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

setup=true
sanitizer=true
for argument in "$@"; do
  case "$argument" in
    --no-setup) setup=false ;;
    --no-sanitizer) sanitizer=false ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && die "unknown argument '$argument'" ;;
  esac
done

nvidia-smi -L || die "no NVIDIA GPU is visible here; tools/test.sh tests the CPU part"
if $setup; then tools/setup.sh; fi

export CMAKE_GENERATOR=Ninja
cmake -S . -B build-gpu -DCMAKE_BUILD_TYPE=Release -DMARA_TESTS=ON -DMARA_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=80;90a" \
  >/dev/null || die "configuring failed, see above"
cmake --build build-gpu --parallel "$(nproc)" || die "building failed, see above"
say "built in $SECONDS s"

# A GPU that cannot be opened would leave the CPU's tests alone, and they pass.
[[ $(build-gpu/kernels_test --gtest_list_tests) == *cuda* ]] ||
  die "no test found the GPU: $(build-gpu/mara check recipes/tests/hyena.yaml --device cuda 2>&1 | tail -n 1)"
for recipe in recipes/tests/*.yaml; do
  build-gpu/mara check "$recipe" --device cuda >build-gpu/check.txt || { cat build-gpu/check.txt && die "$recipe: wrong kernels"; }
done
say "checked every kernel of recipes/tests after $SECONDS s"

OMP_NUM_THREADS=1 ctest --test-dir build-gpu --output-on-failure --no-tests=error --parallel "$(nproc)" ||
  die "tests failed, see above"
say "tested after $SECONDS s"

# Two tests are large only for the sake of many pieces; under racecheck they take minutes.
if $sanitizer; then
  for tool in memcheck synccheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 build-gpu/kernels_test \
      --gtest_filter='*cuda*:-*HugeVocabulary*:*OfLongRows*' >"build-gpu/$tool.txt" ||
      { tail -n 30 "build-gpu/$tool.txt" && die "compute-sanitizer --tool $tool found errors, see build-gpu/$tool.txt"; }
    say "$tool is clean after $SECONDS s"
  done
fi
say "all passed after $SECONDS s"
