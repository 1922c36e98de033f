#!/usr/bin/env bash
# The mini-benchmark: the whole way from benchmark files to a report on models whose true answers are known.
#   own form            the miniature's models, without and with ID-Align, asked as they were taught, about new pictures: the same
#                       questions as VLMEvalKit's TSV, JSONL, and parquet with the pictures inside
#   fifteen benchmarks  the same models after a short `ropescope train` on the benchmarks' prompts, exported
# Every score, prompt and rejected record is checked against what the generator knows, by rules written apart from the program's
# (check.py).
#
#   experiments/mini-benchmark/run.sh [--miniature DIR] [--rows N] [--steps N] [--jobs N] [--output DIR]
#
# --miniature  what experiments/miniature/run.sh wrote (results/miniature); without it the two models are trained first
# --rows N     questions of a benchmark (128); --steps N: of the fine-tuning (500); --jobs N: at once, one thread each (2)
# Stopped and run again, it goes on. parquet needs pyarrow (data/requirements.txt), which is installed into .venv.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
miniature=$root/results/miniature rows=128 steps=500 jobs=2
own_flag() {
  case $1 in
    --miniature) miniature=$(from_caller "$2") ;;
    --rows) rows=$2 ;;
    --steps) steps=$2 ;;
    --jobs) jobs=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
[ -n "${ROPESCOPE_MINIATURE:-}" ] || bootstrap+=(--miniature)
prepare
draw=${ROPESCOPE_MINIATURE:-$root/build/ropescope-miniature}
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python
"$python" -c 'import pyarrow' 2>/dev/null || "$python" -m pip install --quiet -r data/requirements.txt
export OMP_NUM_THREADS=1
schemes=(vanilla id-align)

if [ ! -d "$miniature/models/id-align" ] || [ ! -d "$miniature/models/vanilla" ]; then
  experiments/miniature/run.sh --seeds 0 --schemes 'vanilla;id-align' --thetas '' --jobs "$jobs" --output "$miniature"
fi
seed_folder=$(ls -d "$miniature"/seed-* | head -n 1)

"$draw" draw --pictures "$rows" --seed "$seed" --output "$output/pictures"
data=$output/data
"$python" experiments/mini-benchmark/questions.py --pictures "$output/pictures" --rows "$rows" --seed "$seed" \
  --train "$seed_folder/pictures/train" --output "$data"
parquet='mmstar realworldqa ai2d chartqa mmmu_mc refcoco_rec realworldqa_own_parquet'
for name in $parquet; do
  flags=()
  [ "$name" != refcoco_rec ] || flags=(--expand answer --image-size)
  "$python" data/parquet_to_jsonl.py ${flags[@]+"${flags[@]}"} --output "$data/$name.jsonl" "$data/$name"-*.parquet
done
"$python" experiments/mini-benchmark/check.py oracle --benchmark "$data" --ropescope "$ropescope"

for scheme in "${schemes[@]}"; do
  [ -f "$output/models/$scheme/config.json" ] ||
    printf "'%s' train --quiet --model '%s' --scheme %s --stage finetune --template vicuna_v1 --data '%s' --image-folder '%s' \
--freeze 'model.vision_tower.*' --learning-rate 2e-3 --batch-size 8 --accumulation 1 --max-steps %s --seed %s --threads 1 \
--workers 1 --save-every %s --resume auto --output '%s' && '%s' export --checkpoint '%s' --output '%s'\n" \
      "$ropescope" "$miniature/models/$scheme" "$scheme" "$data/train.json" "$seed_folder/pictures/train" \
      "$steps" "$seed" "$steps" "$output/training-$scheme" "$ropescope" "$output/training-$scheme" "$output/models/$scheme"
done | at_once "training"

names="realworldqa_own_tsv realworldqa_own_jsonl mmbench mme vqav2 scienceqa_img docvqa textvqa seedbench_2_plus mmniah pope $parquet"
runs=()
for name in $names; do
  file=$data/$name.jsonl
  [ -f "$file" ] || file=$data/$name.tsv
  for scheme in "${schemes[@]}"; do
    run=$output/runs/$name-$scheme
    runs+=("$run")
    from=$output/models/$scheme how='--max-new-tokens 32'
    # (a model of the miniature never ends: a colour follows the glyph)
    [[ $name != *_own_* ]] || from=$miniature/models/$scheme how='--max-new-tokens 1 --template none'
    resume=''
    [ ! -f "$run/run.json" ] || resume=--resume
    [ -f "$run/summary.json" ] ||
      printf "'%s' evaluate --quiet --model '%s' --scheme %s --benchmark %s --data '%s' --threads 1 %s %s \
--output '%s' >/dev/null\n" "$ropescope" "$from" "$scheme" "${name%%_own_*}" "$file" "$how" "$resume" "$run"
  done
done > "$output/runs.txt"
at_once "evaluating" < "$output/runs.txt"
for form in md html; do
  "$ropescope" report --force --results "${runs[@]}" --output "$output/report.$form" >/dev/null
done
"$python" experiments/mini-benchmark/check.py runs --benchmark "$data" --runs "$output/runs" --table "$output/table.md"
printf '\nwritten:\n'
printf '  %s\n' "$output"/{table.md,report.md,report.html} "$output/models"/*
