#!/usr/bin/env bash
# Questions a second of `ropescope evaluate` against a `generate` loop of transformers, one question at a time as
# evaluation harnesses ask them, and against a loop over padded batches; the same questions, prompts, weights (SmolLM2 from
# its GGUF file, float32) and longest answers, greedily, in turn. Prints ratios and the share of equal answers.
#
#   bench/evaluate/run.sh [--questions N] [--repeats N] [--threads N] [--batch N] [--model F.gguf] [--set choice|short]
#                         [--output F.json] [--build DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder), the environment that
# bench/setup-venv.sh makes, and the dictionary dict-foldoc. ROPESCOPE_HF_PYTHON names a Python to be used instead.
set -euo pipefail
script=${BASH_SOURCE[0]} target='ropescope'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/evaluate/compare.py" --build "$build" ${arguments[@]+"${arguments[@]}"}
