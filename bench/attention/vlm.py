#!/usr/bin/env python3
"""Runs ropescope attention and hf_vlm.py in turn on a model of Qwen2.5-VL's shape. bench/attention/run.sh --vlm calls it.

Rows of the last 64 queries of a prompt with a picture of side x side tokens. Seconds are those of the decoder's pass with its rows (each
side says them itself); tower and loading are not among them. Memory is the peak of the whole process less that of the same
command on a picture of one token (ropescope) or what is resident once the model is loaded and warmed up (transformers): what the
prompt takes, tower included. Rows are compared, so that both sides measured the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import h5py
import numpy as np

from compare import run

HERE = os.path.dirname(os.path.abspath(__file__))
QUERIES, ROW_TOLERANCE = 64, 1e-4
GOAL_MEMORY, GOAL_TIME, GOAL_FUSED = 8.0, 4.0, 1.15


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.model = os.path.join(work, "model")
        make = [sys.executable, os.path.join(HERE, "make_vlm.py"), "--output", self.model, "--side", str(args.side)]
        subprocess.run([*make, "--layers", str(args.layers), "--blocks", str(args.blocks)], check=True)
        self.ropescope_path = os.path.join(args.build, "ropescope")
        for name in ("small", "picture"):
            command = [self.ropescope_path, "preprocess", "--model", self.model, "--image", self.file(name + ".png"), "--quiet", "--force"]
            subprocess.run([*command, "--output", self.file(name + ".h5")], check=True, stdout=subprocess.DEVNULL)

    def file(self, name):
        return os.path.join(self.model, name)

    def attention(self, name):
        with open(self.file(name + ".json"), encoding="utf-8") as file:
            tokens = len(json.load(file)["input_ids"][0])
        command = [self.ropescope_path, "attention", "--model", self.model, "--image", self.file(name + ".png"), "--tokens", self.file(name + ".json")]
        command += ["--schemes", self.args.scheme, "--queries", f"{tokens - QUERIES}-{tokens - 1}", "--probe", "0", "--weights", "resident"]
        command += ["--threads", str(self.args.threads), "--quiet", "--force", "--json", "--output", os.path.join(self.work, "ours.h5")]
        out, peak = run(command)
        return json.loads(out)["schemes"][0]["seconds"], peak

    def ropescope(self):
        _, loaded = self.attention("small")
        seconds, peak = self.attention("picture")
        return {"seconds": seconds, "peak_bytes": peak, "loaded_bytes": loaded}

    def hugging_face(self, attention):
        command = [sys.executable, os.path.join(HERE, "hf_vlm.py"), "--model", self.model, "--attention", attention]
        for flag, end in (("--tokens", ".json"), ("--pixels", ".h5")):
            command += [flag, self.file("small" + end), self.file("picture" + end)]
        command += ["--queries", str(QUERIES), "--threads", str(self.args.threads), "--output", os.path.join(self.work, "theirs.h5")]
        result = run(command)
        return json.loads(result[0]) if result else None

    def difference(self):
        with h5py.File(os.path.join(self.work, "ours.h5")) as ours, h5py.File(os.path.join(self.work, "theirs.h5")) as theirs:
            rows = next(ours[name] for name in datasets(ours) if name.endswith("/rows"))
            return float(np.abs(rows[:] - theirs["rows"][:]).max())


def datasets(file):
    names = []
    file.visit(names.append)
    return names


def spread(values):
    return f"{statistics.median(values):8.2f} [{min(values):.2f}, {max(values):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--side", type=int, default=64, help="tokens a side of the picture")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--scheme", default="mrope:sections=16/24/24", help="the model's own positions")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", help="raw figures as JSON")
    args = parser.parse_args()
    rounds, worst = [], 0.0
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(args, work)
        for turn in range(args.repeats):
            sides = {"ropescope": bench.ropescope, "eager": lambda: bench.hugging_face("eager"), "sdpa": lambda: bench.hugging_face("sdpa")}
            names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            rounds.append({name: sides[name]() for name in names})
            if rounds[-1]["eager"]:
                worst = max(worst, bench.difference())
            if args.output:  # what there is, should a later round not end
                with open(args.output, "w", encoding="utf-8") as file:
                    json.dump({"rounds": rounds, "largest_difference": worst, "load": os.getloadavg()}, file, indent=1)
    if worst > ROW_TOLERANCE:
        sys.exit(f"bench/attention: rows differ by {worst:.2g} (tolerance {ROW_TOLERANCE:g})")
    print(f"{QUERIES} queries' rows of every layer and head, {args.side**2 + 83} tokens, {args.threads} threads, {args.repeats} rounds: median [least, most]")
    side_of = {}
    for name in ("ropescope", "eager", "sdpa"):
        got = [one[name] for one in rounds if one[name]]
        if not got:
            print(f"{name:10s} out of memory")
            continue
        seconds = [one["seconds"] for one in got]
        above = [(one["peak_bytes"] - one["loaded_bytes"]) / 1e9 for one in got]
        peaks = [one["peak_bytes"] / 1e9 for one in got]
        side_of[name] = (statistics.median(seconds), statistics.median(above))
        print(f"{name:10s} {spread(seconds)} s | {spread(above)} GB above the model | {spread(peaks)} GB in all")
    ours = side_of["ropescope"]
    if "eager" in side_of:
        time, memory = side_of["eager"][0] / ours[0], side_of["eager"][1] / ours[1]
        print(f"eager with output_attentions: {time:.1f}x the time (goal {GOAL_TIME:g}), {memory:.1f}x the memory (goal {GOAL_MEMORY:g});"
              f" largest difference of rows {worst:.1e}")
    if "sdpa" in side_of:
        print(f"beside sdpa without attention: {ours[0] / side_of['sdpa'][0]:.2f}x its time (goal at most {GOAL_FUSED:g})")


if __name__ == "__main__":
    main()
