#!/usr/bin/env bash
# Attention rows of the last query: ropescope against Hugging Face transformers, eager with output_attentions=True and sdpa
# (which shows no attention: the cost of the forward pass alone), on the same model file and tokens, in turn. Prints
# ratios of time and peak memory at each length.
#
#   bench/attention/run.sh [--lengths 512,1024,2048,4096] [--repeats N] [--threads N] [--model F.gguf] [--output F.json]
#                          [--build DIR]
#   bench/attention/run.sh --vlm [--side 64] [--layers 4] [--blocks 4] [--repeats N] [--threads N] [--output F.json] [--build DIR]
#
# --vlm: 64 queries' rows of a model of Qwen2.5-VL-3B's widths with random weights, on a picture of side x side tokens.
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and the environment that
# bench/setup-venv.sh makes. ROPESCOPE_HF_PYTHON names a Python with transformers to be used instead.
set -euo pipefail
script=${BASH_SOURCE[0]} target='ropescope'
. "$(dirname "$script")/../common.sh"
compare=compare.py
own_flag() {
  taken=1
  case $1 in
    --vlm) compare=vlm.py ;;
    *) arguments+=("$1") ;;
  esac
}
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/attention/$compare" --build "$build" ${arguments[@]+"${arguments[@]}"}
