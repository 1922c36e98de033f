#!/usr/bin/env bash
# Visual fading (the protocol of DIPE, arXiv 2603.10863): accuracy and attention on the picture as real text grows between
# picture and question. The miniature's models, trained without and with ID-Align on questions that follow the picture
# directly, are asked behind 0 to 1024 tokens of FOLDOC. From a fresh machine: installs and builds what is missing.
#
#   experiments/fading/run.sh [--miniature DIR] [--texts F] [--lengths list] [--questions N] [--output DIR]
#   experiments/fading/run.sh --model M --benchmark NAME --data F [--schemes 'a;b'] [--texts F] [--lengths list] [--output DIR]
#
# The second form asks a LLaVA-NeXT folder a benchmark under several schemes. --miniature: what experiments/miniature/run.sh
# wrote (results/miniature); without it the two models are trained first. Stopped and run again, it goes on.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
miniature=$root/results/miniature lengths='' questions=256 benchmark='' data='' schemes='vanilla;id-align'
own_flag() {
  case $1 in
    --miniature) miniature=$(from_caller "$2") ;;
    --lengths) lengths=$2 ;;
    --questions) questions=$2 ;;
    --benchmark) benchmark=$2 ;;
    --data) data=$(from_caller "$2") ;;
    --schemes) schemes=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
asked=$model
prepare

# fade <folder> <model> <schemes> <benchmark> <data> <lengths> [further flags]: the curves, from where they stopped.
fade() {
  local run=$1 resume=''
  [ ! -f "$run/summary.json" ] || return 0
  [ ! -f "$run/run.json" ] || resume=--resume
  # shellcheck disable=SC2086
  "$ropescope" evaluate --device "$device" --seed "$seed" --model "$2" --schemes "$3" --benchmark "$4" --data "$5" \
    --distractor "$texts" --text-lengths "$6" "${@:7}" $resume --output "$run" >"$run.txt.new"
  mv "$run.txt.new" "$run.txt"
}

if [ -n "$asked" ]; then
  : "${benchmark:?--model needs --benchmark}" "${data:?--model needs --data}"
  runs=("$output/run")
  fade "${runs[0]}" "$asked" "$schemes" "$benchmark" "$data" "${lengths:-0,1024,2048,4096,8192,16384,32768}"
else
  export OMP_NUM_THREADS=1  # (these models are too small for more)
  if [ ! -d "$miniature/models/id-align" ] || [ ! -d "$miniature/models/vanilla" ]; then
    experiments/miniature/run.sh --seeds 0 --schemes 'vanilla;id-align' --thetas '' --output "$miniature"
  fi
  pictures=$(ls -d "$miniature"/seed-*/pictures | head -n 1)
  python3 experiments/fading/questions.py --pictures "$pictures/unseen" --questions "$questions" --seed "$seed" \
    --output "$output/questions.jsonl"
  runs=()
  for scheme in vanilla id-align; do
    runs+=("$output/$scheme")
    fade "$output/$scheme" "$miniature/models/$scheme" "$scheme" realworldqa "$output/questions.jsonl" \
      "${lengths:-0,16,32,64,128,256,512,1024}" --template none --max-new-tokens 1
  done
fi
for extension in png svg; do
  "$ropescope" plot "${runs[@]}" --kind evaluation-fading --force --output "$output/fading.$extension" >/dev/null
done
cat "${runs[@]/%/.txt}"
printf '\nwritten:\n'
printf '  %s\n' "${runs[@]/%//summary.json}" "$output"/fading.{png,svg}
