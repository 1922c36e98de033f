#!/usr/bin/env bash
# Position ids, rotary tables, the rotation beside rotate_half, and DIPE's attention beside one causal attention.
#
#   bench/rope/run.sh [--build DIR] [flags of Google Benchmark, for example --benchmark_filter=pair_attention/one]
#
# Builds into build-bench/ unless --build names a folder with bench_rope. Reference and ropescope run in turns; the
# counters times_faster_than_rotate_half and times_of_one_causal are medians over the rounds. Run it on a machine
# that does nothing else.
set -euo pipefail
script=${BASH_SOURCE[0]} target=bench_rope
. "$(dirname "$script")/../common.sh"
read_flags "$@"
prepare
exec "$(find "$build" -name bench_rope -type f | head -1)" ${arguments[@]+"${arguments[@]}"}
