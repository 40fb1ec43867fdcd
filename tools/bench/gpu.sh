#!/usr/bin/env bash
# All speed figures of a GPU: training steps eager and compiled, drawings, start, at the true sizes with random weights.
#   tools/bench/gpu.sh DIR
# Tables go to DIR/*.txt, seconds to DIR/**/*.json; about 8 GB of models are written to DIR first. What is there is not done again.
set -euo pipefail
output=$(realpath -m "${1:?usage: tools/bench/gpu.sh DIR}")
cd "$(dirname "$0")/../.."
mkdir -p "$output"
export HF_HUB_OFFLINE=1 COLUMNS=150
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$output/gpu.txt"

once() { # once NAME COMMAND...: its output in NAME.txt, unless that is there
  local table=$output/$1.txt
  shift
  if [ ! -s "$table" ]; then "$@" >"$table.part" && mv "$table.part" "$table"; fi
  cat "$table"
}

once start python -m tools.bench.start --output "$output/start"
for size in mini sd15 sd21; do
  options=()
  if [ "$size" != mini ]; then
    once "$size-options" python -m tools.full_size "$size" --work "$output/$size" --only-write >/dev/null
    mapfile -t options <"$output/$size-options.txt"
  fi
  for compiled in "" --compiled; do
    once "step-$size$compiled" python -m tools.bench.step --output "$output/step-$size$compiled" \
      --batch 1 2 4 8 $compiled -- "${options[@]}"
  done
  source=mini
  [ "$size" = mini ] || source=$output/$size/pipeline
  once "draw-$size" python -m tools.bench.draw --output "$output/draw-$size.json" --source "$source" --device cuda \
    --dtype bfloat16 --steps 25 --pictures 100 --batch 20 --rounds 3
done
