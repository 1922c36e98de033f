#!/usr/bin/env bash
# ropescope against Hugging Face transformers: the whole decay measurement and its stages, on the same model file,
# texts and query-key pairs, in turn, several times. Prints ratios with their spread and writes every raw time.
#
#   bench/decay/run.sh [--repeats N] [--texts N] [--max-tokens N] [--threads N] [--model F.gguf]
#                      [--texts-file F.jsonl] [--output F.json] [--build DIR] [--only job|stages] [--work DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and the environment that
# bench/setup-venv.sh makes. ROPESCOPE_HF_PYTHON names a Python with transformers to be used instead.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

build=''
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --build) build=$(cd "$2" && pwd); shift ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

python=$("$root/bench/setup-venv.sh")
if [ -z "$build" ]; then
  "$root/cmake/bootstrap.sh" --no-build
  build=$root/build-bench
  (cd "$root" && cmake --preset bench >&2 && cmake --build build-bench --target ropescope decay_stages >&2)
fi
exec "$python" "$root/bench/decay/compare.py" --build "$build" "${arguments[@]}"
