#!/usr/bin/env bash
# TarFlow and STARFlow on all of Fashion-MNIST: five trainings one after the other, then figures and pictures.
#
#   tools/fashion_results.sh FOLDER OUT
#
# FOLDER holds the four idx files (of the Debian package dataset-fashion-mnist, or of the Fashion-MNIST repository).
# OUT/runs gets the runs, OUT/figures what goes into docs/results.md. About two hours on two idle CPU cores, minutes on a
# GPU. Every step goes on where an interrupted call stopped, so the same command again finishes the rest.
#
#   PYTHON          the interpreter (python)
#   TRAIN_FLAGS     further flags of every training, such as "--steps 20" for a rehearsal
#   EVALUATE_FLAGS  further flags of every evaluation, such as "--held-out 50"
#   NUM             images to sample for figures (2000), and to classify (10000 unless NUM is given)
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: tools/fashion_results.sh FOLDER OUT" >&2
  exit 2
fi
data=$1 runs=$2/runs figures=$2/figures
mkdir -p "$runs" "$figures"
exec > >(tee -a "$figures/log.txt") 2>&1

simflow() {
  echo "+ simflow $*"
  "${PYTHON:-python}" -m simflow "$@"
}
train() { # RECIPE RUN [flags]
  local recipe=$1 run=$2
  shift 2
  # shellcheck disable=SC2086
  simflow train "$recipe" --data "$data" --out "$runs/$run" "$@" ${TRAIN_FLAGS:-}
}
evaluate() { # RUN OUT [flags]
  local run=$1 out=$2
  shift 2
  # shellcheck disable=SC2086
  simflow evaluate "$runs/$run" --out "$figures/$out" --reference-num 5000 "$@" ${EVALUATE_FLAGS:-}
}
samples=${NUM:-2000}

# TarFlow for likelihood: bits a dimension of the 10 000 test images, from one draw of the uniform noise.
train tarflow-fashion-likelihood likelihood
evaluate likelihood likelihood --likelihood --per-image --num 100 --extractor none --nearest 0

# TarFlow with classes and Gaussian noise: denoising, guidance, the way through the blocks, Bayes' rule.
train tarflow-fashion tarflow
simflow sample "$runs/tarflow" --num 100 --denoise --trajectory --sweep 0,1,3,10 --out "$figures/tarflow"
simflow classify "$runs/tarflow" --num "${NUM:-10000}" --out "$figures/tarflow/classify.json"
evaluate tarflow tarflow/as-sampled --num "$samples" --denoise 0
evaluate tarflow tarflow/denoised --num "$samples"

# STARFlow: an autoencoder alone, the flow on its frozen latents, its decoder fine-tuned on noisy latents.
train autoencoder-fashion autoencoder
train starflow-fashion starflow --start_from "$runs/autoencoder"
train starflow-fashion-decoder decoder --start_from "$runs/starflow"
simflow reconstruct "$runs/autoencoder" --num 40 --mean --out "$figures/starflow/autoencoder.png"
simflow reconstruct "$runs/starflow" --num 40 --out "$figures/starflow/noisy-latents.png"
simflow reconstruct "$runs/decoder" --num 40 --out "$figures/starflow/noisy-latents-decoder.png"
simflow sample "$runs/starflow" --num 100 --denoise 0 --out "$figures/starflow/as-sampled"
simflow sample "$runs/starflow" --num 100 --denoise 1 --sweep 0,0.5,1,2 --out "$figures/starflow/score-step"
simflow sample "$runs/decoder" --num 100 --sweep 0,0.5,1,2 --out "$figures/starflow/decoder"
evaluate starflow starflow/as-sampled/figures --num "$samples" --denoise 0 --reconstruction
evaluate starflow starflow/score-step/figures --num "$samples"
evaluate decoder starflow/decoder/figures --num "$samples" --reconstruction
simflow classify "$runs/starflow" --num "${NUM:-10000}" --out "$figures/starflow/classify.json"

echo "figures and pictures are in $figures"
