#!/usr/bin/env bash
# torch 2.15.0: on the CPU torch.sort and argsort keep the order of equal keys up to 16 elements, and not from 17 on.
#
#   findings/torch-sort-of-equal-keys.sh
#
# Seen with torch 2.15.0, Python 3.11: 16 equal keys come back as 0, 1, ..., 15, whether floats or integers, along either axis; 17 come back as
# 8, 16, 15, ..., 9, 0, 7, ..., 1. With stable=True both keep their order, as the documentation promises for that setting alone.
# Code that lists the members of a cluster by sorting cluster numbers (token merging, PPE's released code among it) is right in a test with a few tokens and
# takes arbitrary members of a real picture's, in whatever order this release happens to have: ids that depend on the first or the heaviest member then
# differ between releases and devices. ropescope's merged layouts name the members in the order that counts.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3.11 with venv and PyPI (4 GB); nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0
cat >"$folder/look.py" <<'PY'
import sys

import torch


def keeps(keys, dim=-1, **how):
    """Whether equal keys keep their order."""
    order = torch.sort(keys, dim=dim, **how)[1].movedim(dim, -1)
    same = torch.argsort(keys, dim=dim, **how).movedim(dim, -1)
    wanted = torch.arange(order.shape[-1]).expand_as(order)
    return bool(torch.equal(order, wanted) and torch.equal(same, wanted))


def all_kinds(n, **how):
    rows = [keeps(torch.zeros(n, dtype=kind), **how) for kind in (torch.float32, torch.float64, torch.int64)]
    return rows + [keeps(torch.zeros(3, n), **how), keeps(torch.zeros(n, 3), dim=0, **how)]


few = [n for n in range(1, 17) if all(all_kinds(n))]
many = [n for n in range(17, 1025) if not any(all_kinds(n))]
print("numbers of equal keys from 1 to 16 that keep their order:", len(few))
print("from 17 to 1024 that do not:", len(many))
print("17 equal keys come back as", torch.argsort(torch.zeros(17)).tolist())
# A picture of 24 tokens in two clusters: the members of the first, as `argsort(cluster)` lists them.
cluster = torch.arange(24) // 12
members = torch.argsort(cluster)[:12].tolist()
print("members of a cluster of tokens 0 to 11:", members)
stable = all(all(all_kinds(n, stable=True)) for n in (1, 16, 17, 100, 1024))
print("with stable=True all keep their order:", stable)
as_described = len(few) == 16 and len(many) == 1008 and members != list(range(12)) and stable
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
