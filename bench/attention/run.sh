#!/usr/bin/env bash
# Attention rows of the last query: ropescope against Hugging Face transformers, eager with output_attentions=True and sdpa
# (which shows no attention: the cost of the forward pass alone), on the same model file and tokens, in turn. Prints
# ratios of time and peak memory at each length.
#
#   bench/attention/run.sh [--lengths 512,1024,2048,4096] [--repeats N] [--threads N] [--model F.gguf] [--output F.json]
#                          [--build DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and the environment that
# bench/setup-venv.sh makes. ROPESCOPE_HF_PYTHON names a Python with transformers to be used instead.
set -euo pipefail
script=${BASH_SOURCE[0]} target='ropescope'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/attention/compare.py" --build "$build" ${arguments[@]+"${arguments[@]}"}
