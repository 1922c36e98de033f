#!/usr/bin/env bash
# experiments/slurm/train-evaluate.sbatch from its first line to its last, on a tiny model: srun is mpirun with two ranks. The
# first job is signalled before its time limit, as Slurm would, while it trains, the second one while it asks; a third one
# ends. Needs mpirun.
#   slurm_test.sh ROPESCOPE
set -euo pipefail
ropescope=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
command -v mpirun >/dev/null || { echo 'slurm_test: skipped: no mpirun (Debian: openmpi-bin)' && exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
golden=$root/tests/golden fake=$scratch/bin out=$scratch/out
mkdir -p "$fake" "$scratch/models" "$scratch/data/images" "$scratch/benchmarks"

cat >"$fake/srun" <<'END'
#!/usr/bin/env bash
while [ "${1#--}" != "$1" ]; do shift; done
# (mpirun would ask Slurm for machines)
exec env -u SLURM_JOB_ID -u SLURM_NTASKS -u SLURM_PROCID mpirun --allow-run-as-root --oversubscribe -n 2 "$RANK_PROGRAM" "$@"
END
# A rank; in the first job one of them is signalled once it has made steps, in the second when it begins to ask.
cat >"$fake/rank" <<'END'
#!/usr/bin/env bash
if [ ! -e "$SCRATCH/signalled" ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
  "$@" &
  pid=$!
  until ls "$SCRATCH"/out/train/*/pretrain/checkpoints/step-* >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  touch "$SCRATCH/signalled"
  kill -TERM "$pid"
  wait "$pid" || exit $?
  exit
fi
if [[ " $* " = *' evaluate '* ]] && [ ! -e "$SCRATCH/signalled-asking" ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
  touch "$SCRATCH/signalled-asking"
  "$@" &
  kill -TERM $!
  wait $! || exit $?
  exit
fi
exec "$@"
END
printf '#!/bin/sh\necho "$*" >>"%s/asked"\n' "$scratch" >"$fake/scontrol"
chmod +x "$fake"/*

# The recipe's models and data, tiny.
cp -r "$golden/language/llama-tiny/safetensors-fp32" "$scratch/models/vicuna-7b-v1.5"
cp -r "$golden/vision/clip-vision-tiny" "$scratch/models/clip-vit-large-patch14-336"
cp "$golden/vision/preprocess/synthetic/gray_37x53.png" "$scratch/data/images/"
rows='' comma=''
for i in $(seq 8); do
  rows+=$comma'{"id":"row'$i'","image":"gray_37x53.png","conversations":[{"from":"human","value":"<image>\nWhat is this?"},{"from":"gpt","value":"It is number '$i'."}]}'
  comma=,
done
echo "[$rows]" | tee "$scratch/data/blip_laion_cc_sbu_558k.json" >"$scratch/data/open-llava-next_instruct_mix1M.json"
cp "$scratch/data/images/gray_37x53.png" "$scratch/benchmarks/"
for i in 1 2 3 4; do
  echo '{"question":"Is picture '$i' red?","answer":"yes","image":"gray_37x53.png"}'
done >"$scratch/benchmarks/pope.jsonl"

job() {
  env PATH="$fake:$PATH" SCRATCH="$scratch" RANK_PROGRAM="$fake/rank" ROPESCOPE="$ropescope" ROPESCOPE_ROOT="$root" \
    SLURM_JOB_ID=7 SLURM_NTASKS=2 SLURM_PROCID=0 \
    bash "$root/experiments/slurm/train-evaluate.sbatch" --recipe id-align/vicuna-7b-clip --scheme id-align --models "$scratch/models" \
    --data "$scratch/data" --benchmarks "$scratch/benchmarks" --only pope --device cpu --output "$out" \
    -- --dtype float32 --batch-size 1 --accumulation 2 --max-steps 40 --save-every 2 --threads 1
}
fail() { echo "slurm_test: $*" >&2; cat "$scratch/log" >&2; exit 1; }

job >"$scratch/log" 2>&1 || fail "the first job: expected 0 after the signal, found $?"
[ "$(cat "$scratch/asked" 2>/dev/null)" = 'requeue 7' ] || fail 'the first job did not go back into the queue'
[ ! -d "$out/train/id-align/finetune" ] || fail 'the first job went on after the signal'
last=$(ls -d "$out"/train/id-align/pretrain/checkpoints/step-* | sort -V | tail -1)
reached=${last##*-}
[ "$reached" -lt 40 ] || fail 'the first job was over before the signal came'
job >"$scratch/log" 2>&1 || fail "the second job: expected 0 after the signal, found $?"
grep -q "after step $reached" "$scratch/log" || fail "the second job did not go on after step $reached"
[ "$(wc -l <"$scratch/asked")" = 2 ] || fail 'the second job did not go back into the queue'
[ ! -e "$out/evaluate/id-align/evaluation.md" ] || fail 'the second job went on after the signal'
job >"$scratch/log" 2>&1 || fail "the third job: expected 0, found $?"
[ "$(wc -l <"$scratch/asked")" = 2 ] || fail 'the third job went back into the queue'
[ "$(wc -l <"$out/evaluate/id-align/pope-own/samples.jsonl")" = 4 ] || fail 'expected 4 answers'
[ ! -e "$out/evaluate/id-align/pope-own/samples.rank-1.jsonl" ] || fail 'the answers of two ranks were not put together'
[ -s "$out/evaluate/id-align/evaluation.md" ] || fail 'there is no report'
