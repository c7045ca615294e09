#!/usr/bin/env bash
# From a fresh clone to a trained and evaluated model; see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=recipes/associative_recall/hyena.yaml

usage() {
  cat <<EOF
usage: tools/quickstart.sh [option of 'mara train' ...]

Installs what is missing (tools/setup.sh), builds the program as build/mara, trains $recipe
and evaluates it on held-out examples. Each call trains anew into the next free folder runs/quickstart-N.

Options go to 'mara train' as they are, for instance:
  tools/quickstart.sh --set run.seed=3
Paths in them are relative to the repository's root.
EOF
}

say() { printf 'quickstart: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

case "${1-}" in
  -h | --help) usage && exit ;;
esac

tools/setup.sh

say "building build/mara"
# A CUDA compiler alone is no reason to spend minutes on the GPU's kernels.
cuda=OFF
if nvidia-smi -L >/dev/null 2>&1; then cuda=AUTO; fi
# Only a build folder's first configuration looks at this variable, so one made with another generator goes on working.
export CMAKE_GENERATOR=Ninja
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DMARA_CUDA="$cuda" >/dev/null ||
  die "configuring failed, see above. If build/ is left from something else, delete it and try again."
cmake --build build --target mara --parallel "$(nproc)" ||
  die "building failed, see above. If memory ran out, try: cmake --build build --target mara --parallel 1"
say "set up and built in $SECONDS s"

train=(build/mara train "$recipe" "$@")
if [[ " $* " != *" --out"* ]]; then
  number=1
  while [[ -e runs/quickstart-$number ]]; do number=$((number + 1)); done
  train+=(--out "runs/quickstart-$number")
fi
say "running ${train[*]}"
"${train[@]}" || die "training stopped with exit code $?, see above"
say "done after $SECONDS s"
