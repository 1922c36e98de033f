#!/usr/bin/env bash
# ID-Align's nine benchmarks on one checkpoint, under the model's own positions and under ID-Align, and the report that
# puts them beside the paper's tables.
#
#   experiments/id-align/evaluate.sh --model models/llava-vicuna-7b --data data/benchmarks [--dry-run] [--cuda]
#   --model M     LLaVA-NeXT folder (trained under ID-Align: both runs tell what the positions change at test time)
#   --data DIR    the benchmark files, under the names that --dry-run lists
#   --schemes A;B schemes in place of vanilla;id-align; own: that which the model was trained under
#   --template T  the conversation template of the papers' harness (vicuna_v1, or qwen for a Qwen2 decoder); the checkpoint's own
#                 chat template unless given
#   --only A;B    these of the nine benchmarks
#   --launcher C  starts the processes that share a benchmark's questions, for example "srun" inside a Slurm job
#   --dry-run     only says which files are there and where the others are published
#   --output DIR  runs and report (default results/id-align)
# A run that was stopped goes on where it was.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
data=$root/data/benchmarks schemes='vanilla;id-align' dry='' template=() only='' launcher=''
own_flag() {
  taken=2
  case $1 in
    --data) data=$(from_caller "${2:?--data needs a value}") ;;
    --template) template=(--template "${2:?--template needs a value}") ;;
    --only) only=${2:?--only needs a value} ;;
    --launcher) launcher=${2:?--launcher needs a value} ;;
    --schemes) schemes=${2:?--schemes needs a value} ;;
    --dry-run) dry=1 taken=1 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"

# benchmark, file, where it is published
benchmarks='mmbench MMBench_DEV_EN.tsv opencompass.openxlab.space/utils/VLMEval/MMBench_DEV_EN.tsv
mmstar mmstar.jsonl huggingface.co/datasets/Lin-Chen/MMStar
realworldqa realworldqa.jsonl huggingface.co/datasets/lmms-lab-encoder/RealWorldQA
seedbench_2_plus seedbench_2_plus.jsonl huggingface.co/datasets/doolayer/SEED-Bench-2-Plus
pope pope.jsonl huggingface.co/datasets/lmms-lab-encoder/POPE
mme mme.jsonl huggingface.co/datasets/lmms-lab-encoder/MME
ai2d ai2d.jsonl huggingface.co/datasets/lmms-lab-encoder/ai2d
vqav2 vqav2_val.jsonl huggingface.co/datasets/lmms-lab-encoder/VQAv2
scienceqa_img scienceqa_img.jsonl huggingface.co/datasets/lmms-lab-encoder/ScienceQA'

for name in ${only//;/ }; do
  grep -q "^$name " <<<"$benchmarks" || { echo "--only: expected some of $(cut -d' ' -f1 <<<"$benchmarks" | xargs), found \"$name\"" >&2 && exit 2; }
done
[ -z "$only" ] || benchmarks=$(grep -E "^(${only//;/|}) " <<<"$benchmarks")

missing=0
while read -r name file source; do
  if [ -f "$data/$file" ]; then
    echo "$name: $data/$file"
  else
    echo "$name: $data/$file is missing; published at $source (.parquet: data/parquet_to_jsonl.py)" >&2
    missing=$((missing + 1))
  fi
done <<<"$benchmarks"
if [ -z "$model" ] || [ ! -e "$model" ]; then
  echo "--model: ${model:-none given} is missing" >&2
  missing=$((missing + 1))
fi
[ "$missing" = 0 ] || exit 3
[ -z "$dry" ] || exit 0

prepare
runs=()
IFS=';' read -ra list <<<"$schemes"
while read -r name file _; do
  for scheme in "${list[@]}"; do
    run=$output/$name-${scheme//[^a-zA-Z0-9-]/_}
    runs+=("$run")
    resume=() positions=(--scheme "$scheme")
    [ "$scheme" != own ] || positions=()
    [ ! -f "$run/run.json" ] || resume=(--resume)
    [ -f "$run/summary.json" ] || $launcher "$ropescope" evaluate --model "$model" --benchmark "$name" --data "$data/$file" \
      --device "$device" --output "$run" ${positions[@]+"${positions[@]}"} ${template[@]+"${template[@]}"} \
      ${resume[@]+"${resume[@]}"} </dev/null
  done
done <<<"$benchmarks"
for form in md html; do
  "$ropescope" report --force --results "${runs[@]}" --tables 001:1,001:2 --output "$output/evaluation.$form"
done
