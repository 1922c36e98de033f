#!/usr/bin/env bash
# Makes bench/.venv-hf, the Python environment of the Hugging Face side of the benchmarks (about 5 GB with the CUDA
# libraries that the torch wheel asks for). ropescope itself never needs it. Safe to run again.
#
#   bench/setup-venv.sh          prints the environment's Python on stdout
#
# ROPESCOPE_HF_PYTHON names a Python that already has the packages of bench/requirements-hf.txt; then nothing is made.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -n "${ROPESCOPE_HF_PYTHON:-}" ]; then
  echo "$ROPESCOPE_HF_PYTHON"
  exit 0
fi
venv=$here/.venv-hf
wanted=$here/requirements-hf.txt
stamp=$venv/installed-requirements.txt
if ! cmp -s "$stamp" "$wanted"; then
  echo "== Installing the Hugging Face environment into bench/.venv-hf" >&2
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check install --retries 10 --timeout 60 -r "$wanted" >&2
  cp "$wanted" "$stamp"
fi
echo "$venv/bin/python"
