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
script=${BASH_SOURCE[0]} target='ropescope decay_stages'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/decay/compare.py" --build "$build" ${arguments[@]+"${arguments[@]}"}
