#!/usr/bin/env bash
# Fine-tuning of SmolLM2-135M in float32: ropescope train against the same loop in PyTorch with transformers, on the same
# batches, in turn. Compares losses and prints ratios of tokens/s and peak memory; then what a step costs when two
# processes on this machine share it, for each --shard.
#
#   bench/train/run.sh [--steps N] [--repeats N] [--batch N] [--tokens N] [--threads N] [--model F.gguf] [--only hf|shard]
#                      [--output F.json] [--build DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder) and the environment that
# bench/setup-venv.sh makes. ROPESCOPE_HF_PYTHON names a Python with transformers to be used instead.
set -euo pipefail
script=${BASH_SOURCE[0]} target='ropescope'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/train/compare.py" --build "$build" ${arguments[@]+"${arguments[@]}"}
