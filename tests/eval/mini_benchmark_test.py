"""experiments/mini-benchmark in small: files of every form, answers that are known to be right or wrong, and three benchmarks asked
of an untrained model, all checked by check.py. The parquet part needs pyarrow.

    mini_benchmark_test.py --ropescope build/ropescope --miniature build/ropescope-miniature
"""
import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
experiment = root / "experiments/mini-benchmark"


def call(*command, python=False):
    command = [sys.executable, *command] if python else command
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ropescope", required=True)
    parser.add_argument("--miniature", required=True)
    arguments = parser.parse_args()
    parquet = importlib.util.find_spec("pyarrow") is not None
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = folder / "data"
        call(arguments.miniature, "draw", "--pictures", 6, "--output", folder / "pictures")
        sizes = ["--pictures", 4, "--test-pictures", 4, "--tower-steps", 1, "--width", 64, "--heads", 2]
        call(arguments.miniature, "prepare", "--quiet", "--output", folder / "model", *sizes)
        flags = [] if parquet else ["--no-parquet"]
        flags += ["--pictures", folder / "pictures", "--output", data, "--rows", 12, "--train", folder / "model/pictures/train"]
        call(experiment / "questions.py", *flags, python=True)
        oracle = ["oracle", "--benchmark", data, "--ropescope", arguments.ropescope, "--profiles", "paper"]
        print(call(experiment / "check.py", *oracle, python=True), end="")
        asked = {"mmbench": "mmbench.tsv", "docvqa": "docvqa.jsonl"}
        if parquet:
            asked["refcoco_rec"] = "refcoco_rec.jsonl"
            shards = sorted(data.glob("refcoco_rec-*.parquet"))
            converter = root / "data/parquet_to_jsonl.py"
            call(converter, "--expand", "answer", "--image-size", "--output", data / "refcoco_rec.jsonl", *shards, python=True)
        for benchmark, file in asked.items():
            call(
                *[arguments.ropescope, "evaluate", "--quiet", "--model", folder / "model/eyes", "--scheme", "id-align"],
                *["--benchmark", benchmark, "--data", data / file, "--max-new-tokens", 4],
                *["--output", folder / "runs" / f"{benchmark}-id-align"],
            )
        runs = ["runs", "--benchmark", data, "--runs", folder / "runs", "--schemes", "id-align", "--benchmarks", ",".join(asked)]
        print(call(experiment / "check.py", *runs, python=True), end="")
        # What the checks are worth: a score that was tampered with is found.
        samples = folder / "runs/docvqa-id-align/samples.jsonl"
        samples.write_text(samples.read_text().replace('"score":0.0', '"score":1.0', 1))
        tampered = subprocess.run([sys.executable, str(experiment / "check.py"), *map(str, runs)], capture_output=True, text=True)
        assert tampered.returncode == 1 and "scored 1.0" in tampered.stderr, tampered.stderr


if __name__ == "__main__":
    main()
