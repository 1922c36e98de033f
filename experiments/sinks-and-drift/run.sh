#!/usr/bin/env bash
# Where on a picture the attention of text gathers (corner, edge, interior; sinks), and whether the pattern moves from one token
# to the next (phase drift), in models that were trained under their encoding: the miniature, one model a scheme and seed,
# each measured under its own scheme on pictures that it was not trained on. From a fresh machine: installs and builds what is
# missing.
#
#   experiments/sinks-and-drift/run.sh [--seeds list] [--schemes 'a;b'] [--steps N] [--pictures N] [--words N] [--jobs N]
#                                      [--output DIR]
#   experiments/sinks-and-drift/run.sh --model M --images 'a.jpg,b.jpg' [--schemes 'a;b'] [--tokens N] [--output DIR]
#
# The second form measures a vision-language model's folder, whose own answer looks (--tokens, 64).
# --words: of text behind each picture, drawn from the miniature's words. Stopped and run again, it does what is missing.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
seeds='0 1 2' steps=200 pictures=16 words=48 jobs=2 images='' tokens=64
schemes='vanilla;id-align;mrope-interleave;mrope-interleave:spatial_reset=true;mrope-interleave:text_spatial_zero=true;dipe+mrope-interleave'
own_flag() {
  case $1 in
    --seeds) seeds=${2//,/ } ;;
    --schemes) schemes=$2 ;;
    --steps) steps=$2 ;;
    --pictures) pictures=$2 ;;
    --words) words=$2 ;;
    --jobs) jobs=$2 ;;
    --images) images=$2 ;;
    --tokens) tokens=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
asked=$model

if [ -n "$asked" ]; then
  : "${images:?--model needs --images}"
  prepare
  "$ropescope" attention --device "$device" --seed "$seed" --model "$asked" --image "$images" --schemes "$schemes" \
    --queries generated --max-new-tokens "$tokens" --keep means --sinks --drift --plot "$output/figures" --force \
    --output "$output/attention.h5"
  exit
fi

if [ -z "${ROPESCOPE_MINIATURE:-}" ]; then
  bootstrap+=(--miniature)
  prepare
fi
miniature=${ROPESCOPE_MINIATURE:-$root/build/ropescope-miniature}
ropescope=${ROPESCOPE:-$root/build/ropescope}
mkdir -p "$output/runs"
export OMP_NUM_THREADS=1  # (these models are too small for more)

for one in $seeds; do
  printf "'%s' prepare --quiet --seed %s --output '%s'\n" "$miniature" "$one" "$output/seed-$one"
done | at_once "pictures and eyes"
for one in $seeds; do
  printf "'%s' text --quiet --seed %s --theta 1e4 --from '%s'\n" "$miniature" "$one" "$output/seed-$one"
done | at_once "what the decoder knows of text"
for one in $seeds; do
  while IFS= read -r scheme; do
    printf "'%s' train --quiet --from '%s' --seed %s --theta 1e4 --scheme '%s' --correspondence 1 --steps %s --save '%s' --output '%s'\n" \
      "$miniature" "$output/seed-$one" "$one" "$scheme" "$steps" "$output/models/$one/$scheme" \
      "$output/runs/$scheme,seed=$one.json"
  done < <(tr ';' '\n' <<<"$schemes")
done | at_once "training"

# prompt <seed>: words of the miniature behind a picture, none of them asking anything.
prompt() {
  python3 - "$1" "$words" <<'PYTHON'
import random, sys
colours = "red green blue yellow magenta cyan white black orange lime mint azure violet rose aqua pink".split()
glyphs = "dots pillars layers waves".split()
draw = random.Random(int(sys.argv[1]))
print("<image> " + " ".join(draw.choice(colours + glyphs) for _ in range(int(sys.argv[2]))))
PYTHON
}

measured=()
for one in $seeds; do
  shown=$(find "$output/seed-$one/pictures/unseen" -name '*.png' | sort | head -n "$pictures" | paste -sd, -)
  while IFS= read -r scheme; do
    report=$output/measured/${scheme//\//_},seed=$one
    measured+=("$report.json")
    [ ! -s "$report.json" ] || continue
    mkdir -p "$output/measured"
    "$ropescope" attention --quiet --force --seed "$one" --model "$output/models/$one/$scheme" --schemes "$scheme" --template none \
      --image "$shown" --prompt "$(prompt "$one")" --queries text --probe 0 --keep numbers --sinks --sink-times 3 --drift --json \
      --output "$report.h5" >"$report.json.new"
    mv "$report.json.new" "$report.json"
  done < <(tr ';' '\n' <<<"$schemes")
done
python3 experiments/sinks-and-drift/table.py "${measured[@]}" | tee "$output/table.md"
first=${seeds%% *}
while IFS= read -r scheme; do
  for kind in sinks drift; do
    "$ropescope" plot "$output/measured/${scheme//\//_},seed=$first.h5" --kind "$kind" --force \
      --output "$output/$kind-${scheme//[^a-z0-9]/-}.png" >/dev/null
  done
done < <(tr ';' '\n' <<<"$schemes")
printf '\nwritten:\n'
printf '  %s\n' "$output/table.md" "$output"/{sinks,drift}-*.png
