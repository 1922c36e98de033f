#!/usr/bin/env bash
# Prior maps: where a real model's heads would look in an anyres layout under every position scheme, before they see
# any content. From a fresh machine: installs and builds what is missing, measures mean queries and keys on real text,
# compares all schemes, draws.
#
#   experiments/prior-maps/run.sh [--cuda] [--model M] [--texts F] [--layout L] [--output DIR] [--seed N]
#
# Run again, it does only what is not there yet; another model, corpus, layout or seed measures anew.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
layout=text:16,anyres:24x24+48x48,text:32
own_flag() {
  case $1 in
    --layout) layout=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
prepare

# Every scheme with its published settings; combinations with id-align; PyPE's interval has no default.
all='vanilla;id-align;v2pe;v2pe:delta=0.5;id-align+v2pe:delta=0.5;mrope;id-align+mrope;mrope-interleave'
all+=';mrope-interleave:spatial_reset=true;id-align+mrope-interleave;mhrope;videorope;hope;ilrope;omnirope;mmrope'
all+=';circlerope:radius=10,alpha=0.5,move_to_origin=true;grape;dipe;dipe+id-align;cca;pype:interval=4;alibi'
all+=';rope-dhr;xd-rope;vrope;c2rope;spiral:directions=8;mixed:seed=0'
all+=';circlerope:radius=10,alpha=0.5,move_to_origin=true,age=alternate;mrope/ernie;mrope/pangu'
few='vanilla;id-align;mrope;dipe'
# Whole heads for t, h and w need three key/value heads; Gemma 3 270M has one.
kv_heads=$("$ropescope" inspect --model "$model" --json | grep -o '"num_key_value_heads":[0-9]*' | head -1 | cut -d: -f2)
[ "${kv_heads:-3}" -ge 3 ] || all=${all/;mhrope;/;}

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
