#!/usr/bin/env bash
# All speed figures of a GPU, at the true sizes with random weights: starts, training steps eager and compiled with their traces, 2000 steps of
# Stable Diffusion 2.1 eager, compiled and as CUDA graphs, 100 drawings of 25 steps, and a subject from its photos to its scores.
#   tools/bench/gpu.sh DIR
# Tables go to DIR/*.txt, seconds and the most memory to DIR/**/*.json; about 25 GB of models are written to DIR first. What is
# there is not done again. To try the script on a machine without a GPU: SIZES=mini BATCHES=1 STEPS=2 LONG=4 PICTURES=2.
set -euo pipefail
output=$(realpath -m "${1:?usage: tools/bench/gpu.sh DIR}")
cd "$(dirname "$0")/../.."
mkdir -p "$output"
export HF_HUB_OFFLINE=1 COLUMNS=150
read -ra sizes <<<"${SIZES:-mini sd15 sd21 sdxl}"
read -ra batches <<<"${BATCHES:-1 2 4 8}"
device=cuda dtype=bfloat16
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$output/gpu.txt"
else
  device=cpu dtype=float32
fi

once() { # once NAME COMMAND...: its output in NAME.txt, unless that is there; what fails is said, and the rest goes on
  local table=$output/$1.txt
  shift
  if [ ! -s "$table" ]; then
    if "$@" >"$table.part"; then mv "$table.part" "$table"; else
      echo "failed: $*" >&2
      return 0
    fi
  fi
  cat "$table"
}

timed() { # timed NAME COMMAND OPTIONS...: a command of idgen by the clock
  local name=$1
  shift
  once "$name" python -m tools.bench.timed --output "$output/$name.json" -- "$@"
}

once start python -m tools.bench.start --output "$output/start"
once memory-counted python -m tools.bench.memory --batch "${batches[@]}"
for size in "${sizes[@]}"; do
  options=() source=mini
  if [ "$size" != mini ]; then
    source=$output/$size/pipeline
    once "$size-options" python -m tools.full_size "$size" --work "$output/$size" --only-write >/dev/null
    mapfile -t options <"$output/$size-options.txt"
  fi
  for compiled in "" --compiled; do
    # A step of the optimizer a batch, also where the overlay gathers several.
    once "step-$size$compiled" python -m tools.bench.step --output "$output/step-$size$compiled" --steps "${STEPS:-30}" \
      --batch "${batches[@]}" $compiled -- "${options[@]}" --trainer.accumulate_grad_batches=1
    once "trace-$size$compiled" python -m tools.bench.trace --output "$output/trace-$size$compiled" \
      --batch "${batches[0]}" $compiled -- "${options[@]}" --trainer.accumulate_grad_batches=1
  done
  if [ "$size" != sdxl ]; then
    once "draw-$size" python -m tools.bench.draw --output "$output/draw-$size.json" --source "$source" --device "$device" \
      --dtype "$dtype" --steps 25 --pictures "${PICTURES:-100}" --batch 20 --rounds 3
  fi
  fit=(fit --config=configs/base.yaml "${options[@]}")
  case "$size" in mini | sd21)
    long=("${fit[@]}" "--trainer.max_steps=${LONG:-2000}" --trainer.limit_val_batches=0)
    timed "long-$size-eager" "${long[@]}" "--trainer.default_root_dir=$output/$size-eager"
    timed "long-$size-auto" "${long[@]}" "--trainer.default_root_dir=$output/$size-auto" --compile.when=auto
    if [ "$device" = cuda ]; then
      timed "long-$size-graphs" "${long[@]}" "--trainer.default_root_dir=$output/$size-graphs" \
        --compile.when=always --compile.whole=true --compile.mode=reduce-overhead
    fi
    ;;
  esac
  # From photos: masks, backgrounds, features, training, validation, and the scores and pages of the test.
  whole=$output/$size-whole
  timed "whole-$size-fit" "${fit[@]}" "--trainer.default_root_dir=$whole" "--data.subject.prepared=$whole/prepared" \
    ${WHOLE:+--trainer.max_steps=$WHOLE}
  timed "whole-$size-test" test "--ckpt_path=$whole/checkpoints/last.ckpt"
done
