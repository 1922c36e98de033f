#!/usr/bin/env bash
# The miniature: does a position encoding let high-resolution tokens find their thumbnail cell? A tiny LLaVA-NeXT is
# trained on generated anyres pictures under each encoding, from several seeds, and measured on grids that it has seen
# and on grids that it has not. From a fresh machine: installs and builds what is missing.
#
#   experiments/miniature/run.sh [--seeds list] [--jobs N] [--schemes 'a;b'] [--thetas list] [--steps N] [--order O] [--output DIR]
#
# --order    of a picture's tokens: llava-next; internvl: tile by tile, the thumbnail last; native: two pictures of any size
#            for a tower with 2-D rotation. The latter two go to results/miniature-<order>, under fewer schemes (3 and 6) and
#            theta 1e4 alone
# --seeds    "0 1 2 3 4" unless given; --jobs: runs at once, one thread each (2)
# --schemes  compared at theta 1e4, separated by ';' (the ten of the table); --thetas: more bases for vanilla and
#            id-align ("1e5 1e6 1e7"); in the order llava-next these two are also trained with the answers as their only target
# Stopped and run again, it does only what is not there yet. Trained models (llava-hf folders) and attention maps of the
# first seed are kept for vanilla and id-align.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
seeds='0 1 2 3 4' jobs=2 steps=400 order=llava-next answers_only=''
unset schemes thetas
own_flag() {
  case $1 in
    --seeds) seeds=${2//,/ } ;;
    --jobs) jobs=$2 ;;
    --schemes) schemes=$2 ;;
    --thetas) thetas=${2//,/ } ;;
    --steps) steps=$2 ;;
    --order) order=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
case $order in
  internvl) default='vanilla;id-align;id-align:newline=in_place' ;;
  native) default='vanilla;id-align;mrope-interleave;id-align+mrope-interleave;mrope;id-align+mrope' ;;
  *)
    default='vanilla;id-align;id-align:resize=bilinear;v2pe:delta=0.5;id-align+v2pe:delta=0.5;mrope;id-align+mrope'
    default="$default;mrope-interleave;id-align+mrope-interleave;dipe"
    thetas=${thetas-1e5 1e6 1e7} answers_only='vanilla id-align'
    ;;
esac
schemes=${schemes-$default} thetas=${thetas-}
if [ "$order" != llava-next ] && [ "$output" = "$root/results/$experiment" ]; then output=$output-$order; fi
if [ -z "${ROPESCOPE_MINIATURE:-}" ]; then
  bootstrap+=(--miniature)
  prepare
fi
miniature=${ROPESCOPE_MINIATURE:-$root/build/ropescope-miniature}
ropescope=${ROPESCOPE:-$root/build/ropescope}
mkdir -p "$output/runs"
export OMP_NUM_THREADS=1

train_line() {  # <seed> <theta> <scheme> <weight of the cells' colours> [further flags]
  local name="$3,theta=$2,cells=$4,seed=$1"
  printf "'%s' train --quiet --from '%s' --seed %s --theta %s --scheme '%s' --correspondence %s --steps %s --output '%s'%s\n" \
    "$miniature" "$output/seed-$1" "$1" "$2" "$3" "$4" "$steps" "$output/runs/$name.json" "${5:-}"
}

for seed in $seeds; do
  printf "'%s' prepare --quiet --order %s --seed %s --output '%s'\n" "$miniature" "$order" "$seed" "$output/seed-$seed"
done | at_once "pictures and eyes"

# text_lines <theta...>: what the decoder of each seed knows before it sees a picture.
text_lines() {
  local seed theta
  for seed in $seeds; do
    for theta in "$@"; do
      printf "'%s' text --quiet --seed %s --theta %s --from '%s'\n" "$miniature" "$seed" "$theta" "$output/seed-$seed"
    done
  done
}

text_lines 1e4 | at_once "what the decoder knows of text"
first=${seeds%% *}
for seed in $seeds; do
  while IFS= read -r scheme; do
    save=''
    case $seed,$scheme in
      "$first",vanilla | "$first",id-align) [ "$order" != llava-next ] || save=" --save '$output/models/$scheme'" ;;
    esac
    train_line "$seed" 1e4 "$scheme" 1 "$save"
  done < <(tr ';' '\n' <<<"$schemes")
  for scheme in $answers_only; do train_line "$seed" 1e4 "$scheme" 0; done
done | at_once "training"
# shellcheck disable=SC2086  # a list
[ -z "$thetas" ] || text_lines $thetas | at_once "text under other thetas"
for seed in $seeds; do
  for theta in $thetas; do
    for scheme in vanilla id-align; do train_line "$seed" "$theta" "$scheme" 1; done
  done
done | at_once "training under other thetas"

"$miniature" table --results "$output/runs" --output "$output/table"

# Where the tokens of one cell look, in the models trained with and without ID-Align: the same picture.
for scheme in vanilla id-align; do
  [ -d "$output/models/$scheme" ] || continue
  "$ropescope" attention --quiet --force --model "$output/models/$scheme" --schemes "$scheme" --template none \
    --image "$output/seed-$first/pictures/seen/00000.png" --region 16,16,16,16 --prompt '<image> red' \
    --plot "$output/maps-$scheme" --output "$output/maps-$scheme.h5" >/dev/null
done
printf '\nwritten:\n'
printf '  %s\n' "$output"/table.{md,csv,h5,png}
[ ! -d "$output/models" ] || printf '  %s\n' "$output"/models/* "$output"/maps-*/region-to-thumbnail.png
