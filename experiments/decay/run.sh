#!/usr/bin/env bash
# Long-range decay of a real model on real text (ID-Align, arXiv 2505.21465, Fig. 3), and the Gaussian-mean simulation
# (Fig. 5), from a fresh machine: installs and builds what is missing, measures, draws.
#
#   experiments/decay/run.sh [--cuda] [--model M] [--texts F] [--output DIR] [--seed N]
#
# Run again, it does only what is not there yet; another model, corpus or seed measures anew.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
read_flags "$@"
prepare

do_once "$output/samples.h5" "$ropescope" sample --model "$model" --texts "$texts" --max-texts 100 \
  --pairs-per-layer 10 --moments --profile --seed "$seed" --device "$device" --force --output "$output/samples.h5"
table_of "$output/decay.txt" "$output/decay.h5" "$ropescope" decay --samples "$output/samples.h5" \
  --theta 1e4,1e5,1e6,1e7 --plot "$output/decay.png" --force --output "$output/decay.h5"
do_once "$output/simulation.h5" "$ropescope" simulate --dim 128 --mean 0,0.5,1,1.5,2 --trials 1000 --theta 1e4,1e7 \
  --max-distance 4096 --seed "$seed" --quiet --plot "$output/simulation.png" --force \
  --output "$output/simulation.h5" >/dev/null

echo
cat "$output/decay.txt"
printf '\nresult files:\n'
printf '  %s\n' "$output"/{samples,decay,simulation}.h5
printf 'figures:\n'
printf '  %s\n' "$output"/*.png
