#!/usr/bin/env bash
# The pictures of the README and of the model cards, from the weights that come with the package: no data, no network.
#
#   tools/gallery.sh [OUT]        # docs/images if not given
#
# Seeds are 0, 1, 2, ... in turn over the classes or families; nothing is picked out. About a minute on two cores.
#
#   PYTHON   the interpreter (python)
set -euo pipefail

out=${1:-docs/images}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

simflow() {
  echo "+ simflow $*"
  "${PYTHON:-python}" -m simflow "$@"
}
grid() { # MODEL NUM LABELS
  simflow sample "$1" --num "$2" --labels "$3" --out "$work/$1"
  cp "$work/$1/grid.png" "$out/$1.png"
}

grid fashion-32 100 all
grid emoji-32 90 all
grid emoji-64 90 families
simflow interpolate fashion-32 --num 6 --steps 10 --out "$out/fashion-32-between.png"
simflow sample fashion-32 --num 50 --sweep 0,0.5,1,2,4 --out "$work/sweep"
cp "$work/sweep/sweep.png" "$out/fashion-32-guidance.png"
