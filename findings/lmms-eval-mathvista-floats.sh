#!/usr/bin/env bash
# lmms-eval 0.7.3: no answer to a MathVista question whose answer is a decimal number can be right.
#
#   findings/lmms-eval-mathvista-floats.sh
#
# Seen with lmms-eval 0.7.3, Python 3.11: the normalisation of answers rounds a decimal to the item's `precision`. The published data (AI4Math/MathVista,
# its card's features) hold `precision` as float64, so 1 decimal is 1.0, and Python's round wants an integer there. The error is caught, the answer
# becomes None, and None is compared with "1.2": wrong, whatever the model said. With the integers 1 and 2 the same answers are right. Whole numbers, choices and
# lists are not touched. The older state of May 2025 has the same lines, so figures of both agree with each other, and with no judge or model does the share of
# decimals come above 0. ropescope's mathvista_mini scores as the harness does where the data say 1.0 (docs/evaluation.md).
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3.11 with venv and PyPI (60 MB); nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check)
# The rules alone: of the package's own requirements (models, torch) nothing is imported here.
"${pip[@]}" --no-deps lmms-eval==0.7.3 2>/dev/null
"${pip[@]}" Levenshtein==0.27.3 loguru==0.7.3 PyYAML==6.0.4 aiohttp==3.14.5 requests==2.34.2 pillow==12.0.0 pyarrow==22.0.0 2>/dev/null
cat >"$folder/look.py" <<'PY'
import importlib.util
import pathlib
import sys

import lmms_eval
import pyarrow

where = pathlib.Path(lmms_eval.__path__[0]) / "tasks/mathvista/mathvista_evals.py"
spec = importlib.util.spec_from_file_location("rules", where)
rules = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rules)
normalise, equal = rules.MathVistaEvaluator.normalize_extracted_answer, rules.MathVistaEvaluator.safe_equal

items = [("1.2", "1.2", 1), ("0.6", "0.6", 1), ("3.14", "3.14", 2), ("2.75", "2.75", 2)]  # said, true, decimals
# As a table with the published types gives them.
column = pyarrow.array([decimals for _, _, decimals in items], pyarrow.float64()).to_pylist()


def right(kind, precisions):
    return [equal(None, normalise(None, said, [], "free_form", kind, p), true) for (said, true, _), p in zip(items, precisions)]


published, whole = right("float", column), right("float", [int(p) for p in column])
integers = equal(None, normalise(None, "7", [], "free_form", "integer", 1.0), "7")
print("precision as published:", column)
print("right answers that are scored right:", sum(published), "of", len(items))
print("with integers in its place:", sum(whole), "of", len(items))
print("a right whole number beside them:", integers)
as_described = not any(published) and all(whole) and integers
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
