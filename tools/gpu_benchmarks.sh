#!/usr/bin/env bash
# All benchmarks of a GPU in one call of less than nine minutes, the most important first.
#
#   tools/gpu_benchmarks.sh OUT [--peer-tarflow PATH] [--peer-gsjacobi PATH] [--device cuda] [--seconds 530] [--tiny]
#
# Each part writes OUT/PART.json, .md (the table) and .png (where matplotlib is installed), as it goes: what a part has
# measured is kept when its time is up. A part begins nothing new after its own time and is ended at that of the whole.
# One that fails is named at the end and in the exit status; the others run all the same.
#
#   --tiny   every part at sizes that a CPU does in seconds: a rehearsal, whose figures mean nothing
#   PYTHON   the interpreter (python3); it needs torch, numpy, pillow, einops, jaxtyping, safetensors, pyyaml
set -euo pipefail

usage() {
  grep -m 1 '^#   tools/' "$0" | cut -c 5- >&2
  exit 2
}
out="" tarflow="" gsjacobi="" device=cuda seconds=530 tiny=no
while [ $# -gt 0 ]; do
  case $1 in
    --peer-tarflow | --peer-gsjacobi | --device | --seconds)
      [ $# -gt 1 ] || usage
      case $1 in
        --peer-tarflow) tarflow=$(realpath "$2") ;;
        --peer-gsjacobi) gsjacobi=$(realpath "$2") ;;
        --device) device=$2 ;;
        --seconds) seconds=$2 ;;
      esac
      shift 2
      ;;
    --tiny) tiny=yes device=cpu && shift ;;
    -*) usage ;;
    *)
      [ -z "$out" ] || usage
      out=$1 && shift
      ;;
  esac
done
[ -n "$out" ] || usage
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "$0")/.."
# Blocks of memory that can grow: the largest batch is not lost to gaps between them.
export PYTORCH_ALLOC_CONF=expandable_segments:True
peer=(${tarflow:+--peer-tarflow "$tarflow"})
failed=() parts=() end=$((SECONDS + seconds))

part() { # NAME SECONDS SUBJECT [flags]
  local name=$1 budget=$2 subject=$3 left=$((end - SECONDS))
  shift 3
  if [ "$left" -lt 5 ]; then
    echo "== $name: no time left" | tee -a "$out/log.txt"
    failed+=("$name")
    return
  fi
  echo "== $name: $subject $*" | tee -a "$out/log.txt"
  parts+=("$name")
  [ "$budget" -lt "$left" ] || budget=$left
  timeout "$left" "${PYTHON:-python3}" -m benchmarks "$subject" --device "$device" --seconds "$budget" \
    --out "$out/$name.json" "$@" >>"$out/log.txt" 2>&1 || failed+=("$name")
}

if [ "$tiny" = yes ]; then
  few=(--rounds 1 --matrix 64 --copied 4096)
  part sampling 60 sampling --size 2 8 2 1 64 --unguided "${few[@]}" ${peer[@]+"${peer[@]}"}
  part training-recipe 60 training --recipe demo --losses plain --checkpointing off on --batch 2 "${few[@]}"
  part training 60 training --size 2 8 2 1 64 "${few[@]}" ${peer[@]+"${peer[@]}"}
  part loader 60 loader --recipe demo --batch 2 --steps 1 "${few[@]}"
  part sampling-guided 60 sampling --size 2 8 2 1 64 "${few[@]}" ${peer[@]+"${peer[@]}"}
  [ -z "$gsjacobi" ] || part gs-jacobi 60 sampling --size 2 8 2 1 64 --unguided --peer-gsjacobi "$gsjacobi" "${few[@]}"
  part growth 60 growth --base 1 2 1 1 64 --grids 2 3 --layers 1 2 --images 1 2 "${few[@]}"
  part guidance 60 guidance --sizes demo:2:1 "${few[@]}"
  part training-codes 60 training --recipe fashion-32-prior --losses all --checkpointing off --batch 2 "${few[@]}"
else
  half=(--dtype bf16)
  # The samplers, S to XXL at 256 tokens; floors and peers beside them.
  part sampling 180 sampling --geometry B XXL S L XL --batch 16 1 256 --unguided --rounds 2 "${half[@]}" \
    ${peer[@]+"${peer[@]}"}
  # The whole system: the largest batch that fits, its share of the matmul rate.
  part training-recipe 95 training --recipe simflow-xxl --data-shape 256 --largest --rounds 3 "${half[@]}"
  part training 40 training --geometry B XXL --batch 64 --rounds 3 "${half[@]}" ${peer[@]+"${peer[@]}"}
  part loader 35 loader --recipe simflow-b --data-shape 256 --batch 64 --steps 10 --rounds 2 --workers 12 \
    --photographs 256 "${half[@]}"
  part sampling-guided 15 sampling --geometry B --batch 16 --rounds 2 "${half[@]}" ${peer[@]+"${peer[@]}"}
  [ -z "$gsjacobi" ] || part gs-jacobi 40 sampling --geometry B --batch 16 --unguided --rounds 2 \
    --peer-gsjacobi "$gsjacobi" "${half[@]}"
  part growth 25 growth --base 16 16 6 4 768 --grids 8 16 32 --layers 1 2 4 8 --images 1 16 64 256 --rounds 1 \
    "${half[@]}"
  part guidance 10 guidance --sizes simflow-b:16 --rounds 2 "${half[@]}"
  part training-codes 15 training --recipe clothing-256-prior --batch 64 --losses all --checkpointing off --rounds 3 \
    "${half[@]}"
  # Last, as compiling cannot be cut short.
  part training-compiled 40 training --geometry B --batch 64 --compile --rounds 3 "${half[@]}" ${peer[@]+"${peer[@]}"}
fi

for name in "${parts[@]}"; do
  printf '\n## %s\n\n' "$name"
  [ ! -f "$out/$name.md" ] || cat "$out/$name.md"
done | tee "$out/tables.md"
if [ ${#failed[@]} -gt 0 ]; then
  echo "not finished: ${failed[*]}; see $out/log.txt" >&2
  exit 1
fi
