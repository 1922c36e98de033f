#!/usr/bin/env bash
# Questions that ID-Align's authors leave open, asked of the miniature (docs/open-questions.md): a table, its figure and every
# point of every run. From a fresh machine: installs and builds what is missing. Stopped and run again, it goes on.
#
#   experiments/open-questions/run.sh dose|theta|combinations|frequency|rival|compression|merged-ids [--seeds list] [--jobs N] [--output DIR] [--plan]
#
# dose          id-align with cells that are wrong on purpose: shifted, mirrored, turned, exchanged, a share of the tokens wrong
# theta         vanilla and id-align under bases from 1e2 to 1e8, in half decades
# combinations  id-align with each other encoding, beside that encoding alone
# frequency     M-RoPE's sections given to other channels: who has the fast ones, rows and columns, or time?
# rival         id-align beside rope-dhr (CoMemo), which rounds cells otherwise, and its released code's order of tiles
# compression   vanilla and id-align with fewer high-resolution tokens: pooled, dropped, merged, pruned, by so much; finer pictures
# merged-ids    whose ids a token has that stands for several, and ids before or after the compression
# --seeds       "0 1 2 3 4 5 6 7 8" unless given (nine seeds resolve up to 12 comparisons, docs/miniature.md; compression and merged-ids, which have more, take ten: 25); --jobs: runs at once, one thread each (2); --plan: say what would be run, and how long
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"  # its flags are the miniature's, which runs everything: ROPESCOPE_MINIATURE counts here too
question=${1:-} output=''
[ $# -eq 0 ] || shift
seeds='' usual='0 1 2 3 4 5 6 7 8' jobs=2 plan='' maps='' thetas='' compress='' baseline='' order=llava-next
finer=1 tower=() shortest=7 longest=16 before='about a minute'  # of one core: seconds a run, and what each seed takes first
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
    ;;
  theta)
    schemes='vanilla;id-align'
    thetas='1e2 3.2e2 1e3 3.2e3 3.2e4 1e5 3.2e5 1e6 3.2e6 1e7 3.2e7 1e8'
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
  compression | merged-ids)
    # A pool is a token of one cell where the picture has several a side; the eyes see their thumbnails too seldom in 500 steps.
    schemes='vanilla;id-align' finer=2 tower=(--tower-steps 2000) usual='0 1 2 3 4 5 6 7 8 9' shortest=15 longest=70 before='two minutes'
    if [ "$question" = compression ]; then
      compress='pool-2;pool-4'
      for kind in drop tome prune tofu; do compress="$compress;$kind-50;$kind-75;$kind-90"; done
    else
      for kind in pool-2 tome-75; do compress="${compress:+$compress;}$kind;$kind/mean;$kind/ppe;$kind/after"; done
      compress="$compress;drop-75;drop-75/after"
    fi
    ;;
  *) echo "open-questions: expected dose, theta, combinations, frequency, rival, compression or merged-ids, found \"$question\"; see the head of ${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
output=${output:-$root/results/open-questions/$question} seeds=${seeds:-$usual}
prepared=$root/results/open-questions/seeds-$order
[ "$finer" = 1 ] || prepared=$prepared-finer-$finer
if [ -n "$plan" ]; then
  count() { tr ';' '\n' <<<"$1" | sed '/^$/d' | wc -l; }
  each=$(($(count "$schemes") * (1 + $(count "$compress")) + $(count "$maps") + 2 * $(wc -w <<<"$thetas")))
  runs=$((each * $(wc -w <<<"$seeds")))
  echo "$question: $each runs a seed, $runs in all, $shortest to $longest s of one core each: $((runs * shortest / 60 / jobs)) to $((runs * longest / 60 / jobs)) minutes with $jobs at once"
  echo "before that, once for all questions, pictures, eyes and text lessons of each seed: $before of one core; 8 s more a theta"
  exit 0
fi
exec "$root/experiments/miniature/run.sh" --seeds "$seeds" --jobs "$jobs" --schemes "$schemes" --thetas "$thetas" --maps "$maps" --answers-only '' \
  --compress "$compress" --finer "$finer" ${tower[@]+"${tower[@]}"} --order "$order" --baseline "$baseline" --prepared "$prepared" --output "$output"
