#!/usr/bin/env python3
"""Runs ropescope with streamed and resident weights and hf_stream.py in turn. bench/stream/run.sh calls it."""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench", "decay"))
from corpus import write_texts  # noqa: E402

TOLERANCE = 2e-3  # of the largest component: float32 passes of other batches differ by rounding


def run_process(command, memory=None):
    """Runs to the end; (seconds, peak of RssAnon in bytes, stdout). Exits if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                    peak = max([peak] + [int(line.split()[1]) for line in status if line.startswith("RssAnon:")])
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.02)
        process.wait()
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"bench/stream: exit code {process.returncode} from: {' '.join(command)}\n{err.read()[-3000:]}")
        return seconds, peak * 1024, out.read()


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.ropescope = os.path.join(args.build, "ropescope")
        self.model = args.model or os.path.join(work, "model")

    def path(self, name):
        return os.path.join(self.work, name)

    def prepare(self):
        args = self.args
        if not args.model:
            command = [sys.executable, os.path.join(HERE, "make_model.py"), "--form", args.form, "--output", self.model]
            run_process(command + (["--layers", str(args.layers)] if args.layers else []))
        write_texts(args.dictionary, args.texts, self.path("texts.jsonl"))

    def sampling(self):
        return ["--texts", self.path("texts.jsonl"), "--max-texts", str(self.args.texts), "--max-tokens", str(self.args.tokens)]

    def sample(self, weights):
        output = self.path(f"{weights}.h5")
        command = [self.ropescope, "sample", "--model", self.model, *self.sampling(), "--weights", weights, "--dtype", self.args.dtype]
        seconds, peak, _ = run_process(command + ["--quiet", "--force", "--output", output])
        return {"seconds": seconds, "private_bytes": peak}

    def peer(self):
        with h5py.File(self.path("streamed.h5")) as file:
            columns = [file[f"pairs/{name}"][:] for name in ("text", "layer", "head", "query", "key")]
            lengths = file["texts/tokens"][:]
        with open(self.path("picks.csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "layer", "head", "query", "key"))
            writer.writerows(zip(*columns))
        _, _, out = run_process([self.ropescope, "tokenize", "--model", self.model, "--file", self.path("texts.jsonl"), "--json"])
        ids = [json.loads(line)["ids"][: self.args.tokens] for line in out.splitlines()][: len(lengths)]
        if [len(i) for i in ids] != list(lengths) or len(set(lengths)) != 1:
            sys.exit("bench/stream: the peer takes texts of one length; a smaller --tokens cuts all of them to it")
        with open(self.path("ids.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"ids": i}) + "\n" for i in ids)
        command = [sys.executable, os.path.join(HERE, "hf_stream.py"), "--model", self.model, "--ids", self.path("ids.jsonl")]
        command += ["--picks", self.path("picks.csv"), "--memory-gib", str(self.args.peer_memory), "--dtype", self.args.dtype]
        seconds, peak, out = run_process(command + ["--output", self.path("peer.npz")])
        with h5py.File(self.path("streamed.h5")) as ours, np.load(self.path("peer.npz")) as theirs:
            for name in ("q", "k"):
                mine, other = ours[f"pairs/{name}"][:], theirs[name]
                worst = float(np.abs(mine - other).max() / np.abs(other).max())
                if self.args.dtype == "float32" and worst > TOLERANCE:
                    sys.exit(f"bench/stream: {name} of the two sides differ by {worst:.2g} of the largest component")
        return {"seconds": seconds, "private_bytes": peak, **json.loads(out)}

    def stages(self, weights):
        command = [os.path.join(self.args.build, "stream_stages"), "--model", self.model, *self.sampling()]
        if not os.path.exists(command[0]):
            command[0] = os.path.join(self.args.build, "bench", "stream_stages")
        _, _, out = run_process(command + ["--weights", weights, "--dtype", self.args.dtype])
        return json.loads(out)


def spread(values, form="{:.2f}"):
    text = form.format(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({form.format(min(values))} to {form.format(max(values))})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--form", default="vicuna-7b")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", default="stages,whole,peer")
    parser.add_argument("--model")
    parser.add_argument("--peer-memory", type=float, default=2.0, help="GiB of weights that the peer keeps in memory")
    parser.add_argument("--dictionary", default="/usr/share/dictd/foldoc")
    parser.add_argument("--output")
    args = parser.parse_args()
    only = set(args.only.split(","))
    work = tempfile.mkdtemp(prefix="ropescope-stream-")
    raw = {"settings": {k: v for k, v in vars(args).items() if k not in ("build", "model")}, "rounds": []}
    try:
        bench = Bench(args, work)
        bench.prepare()
        for _ in range(args.rounds):
            found = {}
            if "stages" in only:
                for weights in ("resident", "streamed"):
                    found[f"stages_{weights}"] = bench.stages(weights)
            if only & {"whole", "peer"}:
                found["streamed"] = bench.sample("streamed")
            if "peer" in only:
                found["peer"] = bench.peer()
            raw["rounds"].append(found)
            print(json.dumps(found), file=sys.stderr)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rounds = raw["rounds"]
    gib = lambda name: spread([r[name]["private_bytes"] / 1e9 for r in rounds])  # noqa: E731
    print(f"{args.form}, {args.layers} layers, {args.texts} texts x {args.tokens} tokens, {args.dtype}, {args.rounds} rounds")
    if "stages" in only:
        share = lambda name: spread([sum(r[name]["products_s"]) / sum(r[name]["forward_s"]) for r in rounds])  # noqa: E731
        ratio = [sum(r["stages_streamed"]["forward_s"]) / (r["stages_resident"]["load_s"] + sum(r["stages_resident"]["forward_s"])) for r in rounds]
        alone = [sum(r["stages_streamed"]["forward_s"]) / sum(r["stages_resident"]["forward_s"]) for r in rounds]
        print(f"private memory, resident, GB              {gib('stages_resident')}")
        print(f"private memory, streamed, GB              {gib('stages_streamed')}")
        print(f"share of the products' limit, resident    {share('stages_resident')}")
        print(f"share of the products' limit, streamed    {share('stages_streamed')}")
        print(f"time, streamed / resident without loading {spread(alone)}")
        print(f"time, streamed / resident with loading    {spread(ratio)}")
    if only & {"whole", "peer"}:
        print(f"whole job, private memory, GB             {gib('streamed')}")
        print(f"whole job, seconds                        {spread([r['streamed']['seconds'] for r in rounds], '{:.0f}')}")
    if "peer" in only:
        print(f"as fast as the peer, times                {spread([r['peer']['seconds'] / r['streamed']['seconds'] for r in rounds])}")
        print(f"private memory, share of the peer's       {spread([r['streamed']['private_bytes'] / r['peer']['private_bytes'] for r in rounds])}")
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(raw, file, indent=1)


if __name__ == "__main__":
    main()
