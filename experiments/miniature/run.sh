#!/usr/bin/env bash
# The miniature: does a position encoding let high-resolution tokens find their thumbnail cell? A tiny LLaVA-NeXT is
# trained on generated anyres pictures under each encoding, from several seeds, and measured on grids that it has seen
# and on grids that it has not. From a fresh machine: installs and builds what is missing.
#
#   experiments/miniature/run.sh [--seeds list] [--jobs N] [--schemes 'a;b'] [--thetas list] [--answers-only 'a;b'] [--steps N] [--order O] [--task T]
#     [--side N] [--glyphs N] [--finer N] [--thumbnail-patch P] [--scalings 'a;b'] [--maps 'a;b'] [--compress 'a;b'] [--tower-steps N] [--baseline S]
#     [--stop-when-solved N] [--train-flags F] [--prepared DIR] [--known DIR]... [--output DIR]
#
# --order    of a picture's tokens: llava-next; internvl: tile by tile, the thumbnail last; native: two pictures of any size
#            for a tower with 2-D rotation. The latter two go to results/miniature-<order>, under fewer schemes (3 and 6) and
#            theta 1e4 alone
# --task     place: the glyph of a colour's cell; relation: where the one cell with the last glyph lies, seen from a colour's cell
# --side, --glyphs, --finer: harder pictures, of 8x8 cells, with up to 12 glyphs, with twice the patches a side. Each of these kinds
#            goes to a folder of its own, under vanilla and id-align, plain and on interleaved M-RoPE, and theta 1e4 alone
# --thumbnail-patch  with --order native: patches of 4 or 16 pixels for the thumbnail, of 8 for the picture, one tower for both
# --seeds    "0 1 2 3 4" unless given; --jobs: runs at once, one thread each (2)
# --schemes  compared at theta 1e4, separated by ';' (the ten of the table); --thetas: more bases for vanilla and
#            id-align ("1e5 1e6 1e7"); in the order llava-next these two, or those of --answers-only, are also trained with the answers
#            as their only target
# --scalings besides, vanilla and id-align at theta 1e4 under scaled rotations, separated by ';': type:factor, the type linear, ntk or yarn
# --maps     besides, id-align with ids inherited wrongly, separated by ';' (ropescope-miniature train --help names them)
# --compress besides, all schemes with fewer high-resolution tokens, separated by ';': pool-2, drop-50, ..., or pool-2/mean with another
#            rule for the ids of what is left (ropescope-miniature train --help has --compress and --merged-id)
# --tower-steps  that the eyes learn for (500, with --side 8 2,000)
# --baseline a scheme that all without ID-Align are compared with in the table, too
# --prepared pictures, eyes and text lessons of the seeds are here (the output folder): several tables may share them
# --known    runs of another table are here (its folder runs/): what is the same is copied from there, not trained again; may be given again
# --stop-when-solved  a run ends after so many looks in a row at which 99 % of everything was right (3); 0: no run does. Models that are kept are trained to their last step
# --train-flags  further flags of every ropescope-miniature train, in one word
# Stopped and run again, it does only what is not there yet. Trained models (llava-hf folders) and attention maps of the
# first seed are kept for vanilla and id-align.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
seeds='0 1 2 3 4' jobs=2 steps=400 order=llava-next task=place side=4 glyphs=4 finer=1 patch=8 scalings='' maps='' compress='' tower_steps='' baseline='' solved=3 prepared='' known='' train_flags=''
unset schemes thetas answers_only
own_flag() {
  case $1 in
    --seeds) seeds=${2//,/ } ;;
    --jobs) jobs=$2 ;;
    --schemes) schemes=$2 ;;
    --thetas) thetas=${2//,/ } ;;
    --answers-only) answers_only=$2 ;;
    --steps) steps=$2 ;;
    --order) order=$2 ;;
    --task) task=$2 ;;
    --side) side=$2 ;;
    --glyphs) glyphs=$2 ;;
    --finer) finer=$2 ;;
    --thumbnail-patch) patch=$2 ;;
    --scalings) scalings=$2 ;;
    --maps) maps=$2 ;;
    --compress) compress=$2 ;;
    --tower-steps) tower_steps=$2 ;;
    --baseline) baseline=$2 ;;
    --stop-when-solved) solved=$2 ;;
    --prepared) prepared=$2 ;;
    --known) known="$known --known '$2'" ;;
    --train-flags) train_flags=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
kind=$order
[ "$task" = place ] || kind=$kind-$task
[ "$side" = 4 ] || kind=$kind-side-$side
[ "$glyphs" = 4 ] || kind=$kind-glyphs-$glyphs
[ "$finer" = 1 ] || kind=$kind-finer-$finer
[ "$patch" = 8 ] || kind=$kind-thumbnail-patch-$patch
case $kind in
  internvl) default='vanilla;id-align;id-align:newline=in_place' ;;
  native) default='vanilla;id-align;mrope-interleave;id-align+mrope-interleave;mrope;id-align+mrope' ;;
  internvl-*) default='vanilla;id-align' ;;
  native-* | llava-next-*) default='vanilla;id-align;mrope-interleave;id-align+mrope-interleave' ;;
  *)
    default='vanilla;id-align;id-align:resize=bilinear;v2pe:delta=0.5;id-align+v2pe:delta=0.5;mrope;id-align+mrope'
    default="$default;mrope-interleave;id-align+mrope-interleave;dipe"
    thetas=${thetas-1e5 1e6 1e7} answers_only=${answers_only-'vanilla;id-align'}
    ;;
esac
schemes=${schemes-$default} thetas=${thetas-} answers_only=${answers_only-}
if [ "$kind" != llava-next ] && [ "$output" = "$root/results/$experiment" ]; then output=$output-$kind; fi
if [ -z "${ROPESCOPE_MINIATURE:-}" ]; then
  bootstrap+=(--miniature)
  prepare
fi
miniature=${ROPESCOPE_MINIATURE:-$root/build/ropescope-miniature}
ropescope=${ROPESCOPE:-$root/build/ropescope}
prepared=${prepared:-$output}
mkdir -p "$output/runs" "$prepared"
export OMP_NUM_THREADS=1

train_line() {  # <seed> <theta> <schemes> <weight of the cells' colours> [further flags [end of the file's name]]
  printf "'%s' train --quiet --from '%s' --seed %s --theta %s --schemes '%s' --correspondence %s --steps %s --stop-when-solved %s --output '%s'%s\n" \
    "$miniature" "$prepared/seed-$1" "$1" "$2" "$3" "$4" "$steps" "$solved" \
    "$output/runs/{scheme},theta=$2,cells=$4,seed=$1${6:-}.json" "${5:-}$known${train_flags:+ $train_flags}"
}

# Several schemes share a process and its pictures; few enough that both cores have work until the end.
at_a_time=4
grouped() { tr ';' '\n' <<<"$1" | sed '/^$/d' | paste -s -d "$(printf ';%.0s' $(seq $((at_a_time - 1))))"'\n' -; }

for seed in $seeds; do
  printf "'%s' prepare --quiet --order %s --task %s --side %s --glyphs %s --finer %s --thumbnail-patch %s --seed %s --output '%s'%s\n" \
    "$miniature" "$order" "$task" "$side" "$glyphs" "$finer" "$patch" "$seed" "$prepared/seed-$seed" "${tower_steps:+ --tower-steps $tower_steps}"
done | at_once "pictures and eyes"

# text_lines <theta...>: what the decoder of each seed knows before it sees a picture.
text_lines() {
  local seed theta
  for seed in $seeds; do
    for theta in "$@"; do
      printf "'%s' text --quiet --seed %s --theta %s --from '%s'\n" "$miniature" "$seed" "$theta" "$prepared/seed-$seed"
    done
  done
}

text_lines 1e4 | at_once "what the decoder knows of text"
first=${seeds%% *}
for seed in $seeds; do
  rest=''
  while IFS= read -r scheme; do
    case $seed,$scheme,$kind in
      "$first",vanilla,llava-next | "$first",id-align,llava-next)
        solved=0 train_line "$seed" 1e4 "$scheme" 1 " --save '$output/models/$scheme'" ;;
      *) rest="$rest$scheme;" ;;
    esac
  done < <(tr ';' '\n' <<<"$schemes")
  # paste makes an empty line of nothing: the first seed has no rest where the two kept models are all that is compared.
  while IFS= read -r some; do [ -z "$some" ] || train_line "$seed" 1e4 "$some" 1; done < <(grouped "$rest")
  if [ -n "$answers_only" ]; then train_line "$seed" 1e4 "$answers_only" 0; fi
  while IFS= read -r map; do
    [ -z "$map" ] || train_line "$seed" 1e4 id-align 1 " --map '$map'" ",map=$map"
  done < <(tr ';' '\n' <<<"$maps")
  # Whoever names the usual ids asks for the same run.
  while IFS=/ read -r kept ids; do
    while IFS= read -r some; do
      train_line "$seed" 1e4 "$some" 1 " --compress $kept${ids:+ --merged-id $ids}" ",compress=$kept${ids:+-$ids}"
    done < <(grouped "$schemes")
  done < <(tr ';' '\n' <<<"$compress" | sed 's|/cell$||' | awk 'NF && !known[$0]++')
done | at_once "training"
# shellcheck disable=SC2086  # a list
[ -z "$thetas" ] || text_lines $thetas | at_once "text under other thetas"
for seed in $seeds; do
  for theta in $thetas; do
    train_line "$seed" "$theta" 'vanilla;id-align' 1
  done
done | at_once "training under other thetas"

# scaling_lines <command...>: the command for each scaling, with its flags and then its name for files (",scaling=yarn-4").
scaling_lines() {
  local scaling
  while IFS= read -r scaling; do
    [ -z "$scaling" ] || "$@" " --scaling '${scaling%%:*}' --factor '${scaling#*:}'" ",scaling=${scaling/:/-}"
  done < <(tr ';' '\n' <<<"$scalings")
}
scaled_text() {  # <flags> <name>
  local line
  while IFS= read -r line; do printf '%s%s\n' "$line" "$1"; done < <(text_lines 1e4)
}
scaled_training() {
  local seed
  for seed in $seeds; do train_line "$seed" 1e4 'vanilla;id-align' 1 "$1" "$2"; done
}
scaling_lines scaled_text | at_once "text under scaled rotations"
scaling_lines scaled_training | at_once "training under scaled rotations"

"$miniature" table --results "$output/runs" --output "$output/table" ${baseline:+--baseline "$baseline"}

# Where the tokens of one cell look, in the models trained with and without ID-Align: the same picture.
for scheme in vanilla id-align; do
  [ -d "$output/models/$scheme" ] || continue
  "$ropescope" attention --quiet --force --model "$output/models/$scheme" --schemes "$scheme" --template none \
    --image "$prepared/seed-$first/pictures/seen/00000.png" --region 16,16,16,16 --prompt '<image> red' \
    --plot "$output/maps-$scheme" --output "$output/maps-$scheme.h5" >/dev/null
done
printf '\nwritten:\n'
printf '  %s\n' "$output"/table.{md,csv,h5,png} "$output"/table-{runs,differences}.csv
[ ! -f "$output/table-interactions.csv" ] || printf '  %s\n' "$output/table-interactions.csv"
[ ! -f "$output/table-gain.csv" ] || printf '  %s\n' "$output"/table-gain.{csv,png}
[ ! -f "$output/table-gaze.csv" ] || printf '  %s\n' "$output"/table-gaze.{csv,png}
[ ! -f "$output/table-compression.csv" ] || printf '  %s\n' "$output"/table-compression.{csv,png}
[ ! -d "$output/models" ] || printf '  %s\n' "$output"/models/* "$output"/maps-*/region-to-thumbnail.png
