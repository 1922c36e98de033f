#!/usr/bin/env bash
# torch 2.15.0: over Gloo, from three ranks on, an all-reduce of equal rows gives rows that differ, and DistributedDataParallel's bucket_cap_mb changes the weights.
#
#   findings/gloo-all-reduce-of-equal-rows.sh
#
# Seen with torch 2.15.0, Python 3.11: float32 sums are added up in an order that depends on where in the tensor a number stands. Of a hundred numbers that a thousand
# rows share on each rank, 44 have sums that differ between rows on three ranks, 71 on four, none on two. Five steps of training with the same seeds and
# bucket_cap_mb=25 or 0.1 give other weights on three and four ranks, the same on two; each setting repeats itself to the bit.
# So a run is reproduced only with the same buckets, which depend on the sizes and the order of what is trained: one matrix more, and what was there before has other
# sums; a test on two ranks never shows it. Rows of a new vocabulary that begin equal come apart. ropescope adds up in the order of the ranks wherever it
# reads or sends large tensors between CPUs itself.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3.11 with venv and PyPI (4 GB); nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0
cat >"$folder/look.py" <<'PY'
import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel


def trained(cap):
    """Two linear layers after five steps, every rank on rows of its own; the same seeds whatever the buckets."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256))
    rows = torch.Generator().manual_seed(dist.get_rank())
    parallel = DistributedDataParallel(model, bucket_cap_mb=cap)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        parallel(torch.randn(8, 256, generator=rows)).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(rank, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{world}", rank=rank, world_size=world)
    # A thousand equal rows of a hundred numbers on each rank: the sum should be a thousand equal rows.
    rows = torch.randn(1, 100, generator=torch.Generator().manual_seed(100 + rank)).repeat(1000, 1)
    dist.all_reduce(rows)
    differ = int((rows != rows[0]).any(0).sum())
    one, two = trained(25), trained(0.1)
    again = trained(25)
    if rank == 0:
        torch.save((differ, bool(torch.equal(one, two)), bool(torch.equal(one, again))), f"{folder}/found-{world}")
    dist.destroy_process_group()


if __name__ == "__main__":
    folder = sys.argv[1]
    found = {}
    for world in (2, 3, 4):
        mp.spawn(run, args=(world, folder), nprocs=world)
        values, buckets, repeated = found[world] = torch.load(f"{folder}/found-{world}")
        print(f"{world} ranks: of 100 numbers that all rows share, {values} have sums that differ between rows; five steps with buckets of 25 MB and 0.1 MB "
              f"give {'the same' if buckets else 'other'} weights, repeated {'the same' if repeated else 'other'}")
    as_described = found[2] == (0, True, True) and all(found[w][0] > 0 and found[w][1:] == (False, True) for w in (3, 4))
    print("as described" if as_described else "CHANGED")
    sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
