#!/usr/bin/env bash
# Questions that ID-Align's authors leave open, asked of the miniature (docs/open-questions.md): a table, its figure and every
# point of every run. From a fresh machine: installs and builds what is missing. Stopped and run again, it goes on.
#
#   experiments/open-questions/run.sh QUESTION [--seeds list] [--jobs N] [--output DIR] [--plan]
#
# dose          id-align with cells that are wrong on purpose: shifted, mirrored, turned, exchanged, a share of the tokens wrong
# theta         vanilla and id-align under bases from 1e2 to 1e8, in half decades, and at 1e4 under NTK and YaRN scaling
# theta-relation  the same with where a cell lies, seen from another, as the question; fewer bases, 1,200 steps
# relation      that question under vanilla and id-align, plain and on interleaved M-RoPE
# combinations  id-align with each other encoding, beside that encoding alone
# frequency     M-RoPE's sections given to other channels: who has the fast ones, rows and columns, or time?
# rival         id-align beside rope-dhr (CoMemo), which rounds cells otherwise, and its released code's order of tiles
# native        thumbnail and picture as two pictures of one tower, at patch sizes of the thumbnail of 4, 8 and 16 pixels, and a picture of
#               twice the patches a side
# ladder        harder pictures: 64 cells and 8x8 thumbnails; 12 glyphs; twice the patches a side
# longer        does it come without ID-Align? 4,000 steps
# fading        text of varied length between picture and question while training, up to 8K tokens of it in the end: M-RoPE, ID-Align and DIPE
# compression   vanilla and id-align with fewer high-resolution tokens: pooled, dropped, merged, pruned, by so much; twice the patches a side
# merged-ids    whose ids a token has that stands for several, and ids before or after the compression
# Of questions with several kinds of pictures each kind has a folder and a table of its own.
# --seeds       "0 1 2 3 4 5 6 7 8" unless given, theta, compression, merged-ids: ten, relation, theta-relation: eight, longer: seven (as many
#               as can resolve the question's comparisons, docs/miniature.md); --jobs: runs at once, one thread each (2); --plan: say what would be run, and how long
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"  # its flags are the miniature's, which runs everything: ROPESCOPE_MINIATURE counts here too
question=${1:-} output=''
[ $# -eq 0 ] || shift
seeds='' jobs=2 plan='' maps='' thetas='' scalings='' compress='' baseline='' order=llava-next steps=400 further=()
most='0 1 2 3 4 5 6 7 8'  # seeds unless given
kinds=(':')               # name:flags of each kind of pictures
fast=7 slow=16            # seconds of one core a run
while [ $# -gt 0 ]; do
  case $1 in
    --seeds) seeds=${2//,/ } && shift 2 ;;
    --jobs) jobs=$2 && shift 2 ;;
    --output) output=$(from_caller "$2") && shift 2 ;;
    --plan) plan=yes && shift ;;
    --help) usage && exit 0 ;;
    *) echo "open-questions: unknown flag $1; see the head of ${BASH_SOURCE[0]}" >&2 && exit 2 ;;
  esac
done
case $question in
  --help) usage && exit 0 ;;
  dose)
    schemes='vanilla;id-align;id-align:resize=bilinear'
    maps='shift-1;shift-2;mirror;quarter-turn;shuffle-rows;shuffle;random-5;random-10;random-25;random-50'
    further=(--train-flags '--gaze-pictures 64')  # do tokens look where the ids say, or where the same is shown?
    ;;
  theta)
    schemes='vanilla;id-align'
    thetas='1e2 3.2e2 1e3 3.2e3 3.2e4 1e5 3.2e5 1e6 3.2e6 1e7 3.2e7 1e8'
    scalings='ntk:4;ntk:16;yarn:4;yarn:16' most='0 1 2 3 4 5 6 7 8 9'
    ;;
  theta-relation)
    schemes='vanilla;id-align' kinds=('relation:--task relation') steps=1200 fast=40 slow=50
    thetas='1e2 1e3 1e5 1e6 1e8' most='0 1 2 3 4 5 6 7'
    ;;
  relation)
    schemes='vanilla;id-align;mrope-interleave;id-align+mrope-interleave' most='0 1 2 3 4 5 6 7'
    kinds=('relation:--task relation') steps=1200 fast=40 slow=50
    ;;
  native)
    schemes='vanilla;id-align;mrope-interleave;id-align+mrope-interleave' order=native fast=12 slow=90
    kinds=(':' 'thumbnail-patch-4:--thumbnail-patch 4' 'thumbnail-patch-16:--thumbnail-patch 16' 'finer-2:--finer 2'
      'thumbnail-patch-4-finer-2:--thumbnail-patch 4 --finer 2')
    ;;
  ladder)
    schemes='vanilla;id-align' fast=18 slow=75
    kinds=('side-8:--side 8' 'glyphs-12:--glyphs 12' 'finer-2:--finer 2')
    ;;
  longer)
    schemes='vanilla;id-align;mrope-interleave;id-align+mrope-interleave' steps=4000 most='0 1 2 3 4 5 6' fast=7 slow=160
    ;;
  combinations)
    for other in v2pe:delta=0.5 mrope mrope-interleave mhrope:sections=1/1/1 circlerope:move_to_origin=true,radius=10,alpha=0.5 vrope; do
      schemes="${schemes:+$schemes;}$other;id-align+$other"
    done
    schemes="vanilla;id-align;$schemes;dipe;dipe+id-align"
    ;;
  frequency)
    schemes='vanilla;id-align'
    # 16 channels: 4 of t, 6 of rows, 6 of columns, first in chunks (t has the fast ones), then rows and columns first.
    for other in mrope:sections=4/6/6 mrope/ernie:sections=4/6/6 mrope/interleaved:sections=4/6/6 mrope/ernie:sections=12/2/2 mrope:sections=0/8/8; do
      schemes="$schemes;$other;id-align+$other"
    done
    ;;
  rival)
    # Whole tiles, as rope-dhr needs them, in InternVL's order: tiles first.
    schemes='vanilla;id-align;rope-dhr;rope-dhr:tile_order=column' order=internvl baseline=id-align
    ;;
  fading)
    # DIPE on each of four kinds of ids, beside these ids alone; the paper's own (chunked M-RoPE); and pictures as far from all text.
    for ids in vanilla id-align mrope-interleave id-align+mrope-interleave; do
      anchored=dipe+$ids
      [ "$ids" != id-align ] || anchored=dipe+id-align+vanilla
      schemes="${schemes:+$schemes;}$ids;$anchored"
    done
    schemes="$schemes;dipe;circlerope:move_to_origin=true,radius=10,alpha=0.5"
    # Learned by chance of any of the former; asked behind all of the latter. No run ends early: looks on the way ask behind no text.
    further=(--stop-when-solved 0 --train-flags '--distractor-lengths 0,8,32,128,512 --measure-lengths 0,64,256,512,1024,2048,4096,8192 --length-pictures 16') fast=65 slow=100
    ;;
  compression)
    # Of finer pictures, most of whose pools lie in one cell.
    schemes='vanilla;id-align' kinds=('finer-2:--finer 2') most='0 1 2 3 4 5 6 7 8 9' fast=5 slow=75
    compress='pool-2;pool-4'
    for kind in drop tome prune tofu; do compress="$compress;$kind-50;$kind-75;$kind-90"; done
    ;;
  merged-ids)
    schemes='vanilla;id-align' kinds=('finer-2:--finer 2') most='0 1 2 3 4 5 6 7 8 9' fast=5 slow=75
    compress='pool-2;pool-2/mean;pool-2/ppe;pool-2/after;tome-75;tome-75/mean;tome-75/ppe;tome-75/after;drop-75;drop-75/after'
    ;;
  *) echo "open-questions: expected dose, theta, theta-relation, relation, native, ladder, longer, combinations, frequency, rival, fading, compression or merged-ids, found \"$question\"; see the head of ${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
output=${output:-$root/results/open-questions/$question}
seeds=${seeds:-$most}
if [ -n "$plan" ]; then
  count() { tr ';' '\n' <<<"$1" | sed '/^$/d' | wc -l; }
  each=$((${#kinds[@]} * ($(count "$schemes") * (1 + $(count "$compress")) + $(count "$maps") + 2 * $(wc -w <<<"$thetas") + 2 * $(count "$scalings"))))
  runs=$((each * $(wc -w <<<"$seeds")))
  echo "$question: $each runs a seed, $runs in all, $fast to $slow s of one core each: $((runs * fast / 60 / jobs)) to $((runs * slow / 60 / jobs)) minutes with $jobs at once"
  echo "before that, once for all questions about pictures of a kind, pictures, eyes and text lessons of each seed: about a minute of one core (with --side 8 three); 8 s more a theta or scaling"
  exit 0
fi
# Questions share runs: what another one trained is not trained again.
for runs in "$root"/results/open-questions/*/runs "$root"/results/open-questions/*/*/runs; do
  [ ! -d "$runs" ] || further+=(--known "$runs")
done
for kind in "${kinds[@]}"; do
  name=${kind%%:*}
  # shellcheck disable=SC2086  # flags of a kind
  "$root/experiments/miniature/run.sh" --seeds "$seeds" --jobs "$jobs" --schemes "$schemes" --thetas "$thetas" --scalings "$scalings" \
    --maps "$maps" --compress "$compress" --answers-only '' --order "$order" ${kind#*:} --steps "$steps" --baseline "$baseline" \
    ${further[@]+"${further[@]}"} --prepared "$root/results/open-questions/seeds-$order${name:+-$name}" --output "$output$([ ${#kinds[@]} = 1 ] || echo "/${name:-plain}")"
done
if [ "$question" = fading ]; then
  "${ROPESCOPE_MINIATURE:-$root/build/ropescope-miniature}" fading --results "$output/runs" --output "$output/fading" --baseline id-align
  printf '\nwritten:\n'
  printf '  %s\n' "$output"/fading.{md,csv,h5,png} "$output"/fading-{runs,differences,crossings}.csv
fi
