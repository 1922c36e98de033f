#!/usr/bin/env bash
# What it costs how threads wait: `ropescope sample` of SmolLM2 as it is (threads that wait give their core away where others run) against
# the same with libgomp's own default (they spin for some milliseconds first), on all cores, without and with one core kept busy by
# something else, in turn. Prints medians and ratios, and what one thread takes.
#
#   bench/waiting/run.sh [--rounds N] [--texts F] [--max-texts N] [--model F.gguf] [--threads N] [--build DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and nothing else. Run it on a
# machine that does nothing else, or with many rounds.
set -euo pipefail
script=${BASH_SOURCE[0]} target=ropescope
. "$(dirname "$script")/../common.sh"
read_flags "$@"
prepare
exec python3 "$root/bench/waiting/compare.py" --ropescope "$build/ropescope" --root "$root" ${arguments[@]+"${arguments[@]}"}
