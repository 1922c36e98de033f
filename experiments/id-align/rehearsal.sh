#!/usr/bin/env bash
# A rehearsal of the ID-Align fine-tuning that a workstation can run: the real widths and code path of Vicuna-7B with
# CLIP-L/14-336, 2 decoder layers, random weights, two processes, --shard parameters, two steps. Prints the memory that was
# predicted from sizes alone beside what each process took; more than 10% between them is a failure.
#
#   experiments/id-align/rehearsal.sh [--layers N] [--steps N] [--freeze PATTERNS] [--output DIR] [--build DIR]
#
# Needs 20 GB of memory and 4 GB of disk. --freeze says what is not trained [model.vision_tower.*]; with
# "model.vision_tower.*,*embed_tokens*,lm_head*" 15 GB are enough.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
layers=2 steps=2 freeze='model.vision_tower.*' output=$root/results/id-align/rehearsal build=$root/build
while [ $# -gt 0 ]; do
  case $1 in
    --layers) layers=$2 && shift 2 ;;
    --steps) steps=$2 && shift 2 ;;
    --freeze) freeze=$2 && shift 2 ;;
    --output) output=$2 && shift 2 ;;
    --build) build=$2 && shift 2 ;;
    --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) echo "rehearsal.sh: unknown flag \"$1\" (--help lists them)" >&2 && exit 2 ;;
  esac
done
golden=$root/tests/golden
image=$(find "$golden/vision" \( -name '*.png' -o -name '*.jpg' \) -size +4k | sort | head -1)
mkdir -p "$output"
python3 "$here/rehearsal.py" "$output" "$layers" "$image" $((2 * steps))
cp "$golden/language/llama-tiny/safetensors-fp32/"tokenizer* "$output/decoder/"
flags=(train --model "$output/decoder" --vision-tower "$output/tower" --data "$output/rows.json" --image-folder /
  --stage finetune --template vicuna_v1 --scheme id-align --shard parameters --checkpoint-layers --freeze "$freeze"
  --batch-size 1 --accumulation 2 --max-steps "$steps" --max-length 2048 --dtype float32 --output "$output/run" --force
  --memory-report --json --save-every 0)
"$build/ropescope" "${flags[@]}" --ranks 2 --dry-run >"$output/plan.json"
port=$((20000 + RANDOM % 10000))
for rank in 0 1; do
  # Where memory runs out, these go first.
  (
    echo 1000 >/proc/self/oom_score_adj || true
    RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
      exec "$build/ropescope" "${flags[@]}" >"$output/rank-$rank.json"
  ) &
  ranks[$rank]=$!
done
for rank in 0 1; do wait "${ranks[$rank]}"; done
python3 - "$output" <<'END'
import json, sys

folder = sys.argv[1]
with open(f"{folder}/plan.json", encoding="utf-8") as file:
    plan = json.load(file)["memory"]["ranks"][0]["predicted"]
with open(f"{folder}/rank-0.json", encoding="utf-8") as file:
    ranks = json.load(file)["memory"]["ranks"]
worst = 0.0
print("MiB                    predicted    measured")
for rank in ranks:
    for name, key in (("parameters", "parameters_bytes"), ("gradients", "gradients_bytes"), ("optimizer", "optimizer_bytes"),
                      ("peak of the process", "peak_resident_bytes")):
        predicted = plan[key]
        measured = rank[key] if key.startswith("peak") else rank["measured"][key]
        worst = max(worst, abs(measured / predicted - 1.0))
        print(f"rank {rank['rank']} {name:<20}{predicted / 2**20:9.0f}   {measured / 2**20:9.0f}   {measured / predicted - 1:+7.1%}")
print(f"largest difference {worst:.1%}: {'within' if worst <= 0.1 else 'NOT within'} 10%")
sys.exit(0 if worst <= 0.1 else 1)
END
