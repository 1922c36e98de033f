#!/usr/bin/env bash
# Position ids, rotary tables, the rotation beside rotate_half, and DIPE's attention beside one causal attention.
#
#   bench/rope/run.sh [--build DIR] [flags of Google Benchmark, for example --benchmark_filter=pair_attention/one]
#
# Builds into build-bench/ unless --build names a folder with bench_rope. Reference and ropescope run in turns; the
# counters times_faster_than_rotate_half and times_of_one_causal are medians over the rounds. Run it on a machine
# that does nothing else.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=''
if [ "${1:-}" = --help ]; then sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0; fi
if [ "${1:-}" = --build ]; then build=$(cd "$2" && pwd); shift 2; fi
if [ -z "$build" ]; then
  "$root/cmake/bootstrap.sh" --no-build
  build=$root/build-bench
  (cd "$root" && cmake --preset bench >&2 && cmake --build build-bench --target bench_rope >&2)
fi
exec "$(find "$build" -name bench_rope -type f | head -1)" "$@"
