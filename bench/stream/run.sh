#!/usr/bin/env bash
# Measuring a model that memory cannot hold: streamed weights beside weights in memory, beside the matrix products alone,
# and beside transformers with accelerate's disk offload, on the same file and tokens, in turn. Prints ratios and checks that
# all sides took the same numbers. The model has the shape of a known one and random weights (make_model.py).
#
#   bench/stream/run.sh [--form vicuna-7b|qwen2.5-7b] [--layers N] [--texts N] [--tokens N] [--rounds N] [--dtype float32|bfloat16]
#                       [--only stages,whole,peer] [--model DIR] [--peer-memory GiB] [--build DIR] [--output F.json]
#
# Default: six layers, 12 texts of 160 tokens (3 GB of disk). `--layers 32 --texts 100 --tokens 128 --only whole` is the
# whole of Vicuna-7B (14 GB). --model takes a folder that is there already, which is then kept.
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and the environment that
# bench/setup-venv.sh makes. ROPESCOPE_HF_PYTHON names a Python with transformers to be used instead.
set -euo pipefail
script=${BASH_SOURCE[0]} target='ropescope stream_stages'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/stream/compare.py" --build "$build" ${arguments[@]+"${arguments[@]}"}
