#!/usr/bin/env bash
# Installs what Mara is built and tested with; see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'EOF'
usage: tools/setup.sh [--checks] [--dev]

Installs with apt-get (Debian 12, Ubuntu 24.04) the compiler, build tools and libraries that Mara is built and tested
with; on a bare system they are 110 MB to download. Does nothing when all of them are there.

  --checks  also what tests are skipped without: clang for the fuzz targets, and .venv with h5py, safetensors and
            TensorBoard (200 MB, the versions in tools/requirements.txt), which read the files that mara writes. What a
            change must pass (.ci/run) needs it.
  --dev     --checks, and PyTorch and SciPy in .venv, to compare with; PyPI's PyTorch runs on a CPU but brings its CUDA
            libraries along: 5.6 GB in all.
EOF
}

die() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Of OpenBLAS's three builds only pthread fits, since kernels call it from several OpenMP threads at once, one thread
# each. The serial build has no locks: called so it returns wrong products (756 of 40,000 of size 64). In the openmp
# build openblas_set_num_threads(1) sets OpenMP's own number of threads to 1.
packages=(
  g++ cmake ninja-build ccache pkgconf
  libopenblas-pthread-dev libyaml-cpp-dev libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libxxhash-dev
  libhdf5-dev
  libgtest-dev libgmock-dev
)
check_packages=(python3-venv clang libclang-rt-dev libomp-dev)
requirements=()  # files of Python packages, each with its version

for argument in "$@"; do
  case "$argument" in
    --checks) requirements+=(tools/requirements.txt) ;;
    --dev) requirements+=(tools/requirements.txt tools/requirements-dev.txt) ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && die "unknown argument '$argument'" ;;
  esac
done
if ((${#requirements[@]})); then packages+=("${check_packages[@]}"); fi

not_installed() {
  comm -23 <(printf '%s\n' "$@" | sort) \
    <(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' | sort)
}

install_packages() {
  local as_root=() log
  local remedy="apt-get install --no-install-recommends $*"
  command -v apt-get >/dev/null ||
    die "there is no apt-get here. Install what these Debian packages hold with your system's own tools:" "$*" \
      "then build without this script: cmake -S . -B build -G Ninja && cmake --build build"
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "packages are missing; installing them needs root or sudo. Have an administrator run:" "$remedy"
    as_root=(sudo)
  fi
  printf 'setup: installing with %s: %s\n' "${as_root[*]:+${as_root[*]} }apt-get" "$*"

  # Unlike apt's own lines, which go to the log and are shown when something fails, sudo's question for the password is
  # asked on the terminal.
  log=$(mktemp)
  # shellcheck disable=SC2064  # $log is to be expanded now: it is local
  trap "rm -f '$log'" EXIT
  local apt_get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
  # A repository of the user's that cannot be reached need not matter here; installing will tell.
  "${apt_get[@]}" update >"$log" 2>&1 || true
  "${apt_get[@]}" install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    die "apt-get failed, see above. Debian 12 and Ubuntu 24.04 (with universe) have all packages. To see more, run:" \
      "${as_root[*]:+${as_root[*]} }$remedy"
  }
}

has_python_packages() {
  .venv/bin/python - "${requirements[@]}" 2>/dev/null <<'EOF'
import sys
from importlib.metadata import version
wanted = [line.split("==") for file in sys.argv[1:] for line in open(file).read().split()]
sys.exit(any(version(name) != pinned for name, pinned in wanted))
EOF
}

mapfile -t missing < <(not_installed "${packages[@]}")
if ((${#missing[@]})); then install_packages "${missing[@]}"; fi

if ((${#requirements[@]})) && ! has_python_packages; then
  printf 'setup: installing into .venv with pip: %s\n' "${requirements[*]}"
  python3 -m venv .venv || die "could not make .venv with $(command -v python3)"
  .venv/bin/pip install --quiet "${requirements[@]/#/--requirement=}" || die "pip failed, see above; .venv can be deleted and made again"
fi
