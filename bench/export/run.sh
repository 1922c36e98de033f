#!/usr/bin/env bash
# Exported folders as Hugging Face transformers sees them: loads each and compares logits with ropescope's.
#
#   bench/export/run.sh [--build DIR]
#
# Trains a few steps of the tiny LLaVA-NeXT models (both forms) and of tiny Llama and Qwen2 text models, exports each and
# loads it with AutoModelForCausalLM or LlavaNextForConditionalGeneration: no tensor may be missing or left over, and logits
# of text and of an image must agree to 1e-4. Takes the Python of bench/setup-venv.sh (ROPESCOPE_HF_PYTHON names another).
set -euo pipefail
script=${BASH_SOURCE[0]} target=ropescope
. "$(dirname "$script")/../common.sh"
own_flag() { echo "run.sh: unknown flag \"$1\"; --help lists them" >&2; exit 2; }
read_flags "$@"
python=$("$root/bench/setup-venv.sh")
prepare
exec "$python" "$root/bench/export/compare.py" "$build/ropescope" "$root/tests/golden"
