#!/usr/bin/env python3
"""Checks scores of the mini-benchmark against what its generator knows, by rules written apart from the program's.

    check.py oracle --benchmark DIR --ropescope EXE [--profiles paper,current]    files, and answers that are all right, all wrong, k of n right
    check.py runs --benchmark DIR --runs DIR [--schemes 'vanilla;id-align'] [--benchmarks a,b] [--table FILE.md]

Ends with exit code 1 and says which figure differs, or with a table.
"""
import argparse
import json
import math
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/eval"))
import reference_scoring

FAULTS = []


def expect(condition, text):
    if not condition:
        FAULTS.append(text)
        print("differs: " + text, file=sys.stderr)


def score_file(ropescope, flags):
    run = subprocess.run([ropescope, "score", *flags, "--json"], capture_output=True, text=True)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()]


def unit_of(benchmark, item):
    return item["doc"]["index"] % 1000000 if benchmark == "mmbench" else item["unit"]


def check_oracle(arguments, truth):
    for file, one in truth.items():
        name = one["benchmark"]
        if file.startswith("realworldqa_own"):  # (as realworldqa)
            continue
        items = [item for item in one["records"] if "error" not in item]
        units = sorted({unit_of(name, item) for item in items})
        some = set(random.Random(name).sample(units, len(units) // 3))
        for right, expected in ((set(units), 100), (set(), 0), (some, 100 * len(some) / len(units))):
            path = arguments.benchmark / f"oracle_{file}.jsonl"
            answers = [item["right" if unit_of(name, item) in right else "wrong"] for item in items]
            path.write_text("".join(json.dumps({"doc": item["doc"], "output": a}) + "\n" for item, a in zip(items, answers)))
            for profile in arguments.profiles.split(","):
                code, lines = score_file(arguments.ropescope, ["--benchmark", name, "--items", path, "--profile", profile])
                expect(code == 0 and len(lines) == len(items) + 1, f"{name}: exit code {code}, {len(lines)} lines")
                found = reference_scoring.figure(name, lines[-1]["aggregates"])
                close = found == expected if expected in (0, 100) else abs(found - expected) < 1e-9
                expect(close, f"{name} {profile}: {len(right)} of {len(units)} units right, expected {expected}, found {found}")
                prompts = [line["prompt"] for line in lines[:-1]]
                expect(prompts == [item["prompt"] for item in items], f"{name}: prompts")
            path.unlink()
    check_files(arguments, truth)
    names = {one["benchmark"] for one in truth.values()}
    print(f"{len(names)} benchmarks: all right, all wrong and a third right give 100, 0 and k/n ({arguments.profiles})")


def check_files(arguments, truth):
    """VLMEvalKit files: what is rejected, and files that are broken as a whole."""
    records = truth["mmbench"]["records"]
    rejected = [{"record": item["record"], "error": item["error"]} for item in records if "error" in item]
    questions = [item["doc"]["question"] for item in records if "doc" in item]
    groups = sum(item["doc"]["index"] < 1000000 for item in records if "doc" in item)
    files = {"mmbench.tsv": None, "mmbench_windows.tsv": None, "mmbench_unclosed.tsv": "unclosed_quote", "mmbench_no_answer_column.tsv": "missing_column"}
    for name, error in files.items():
        code, lines = score_file(arguments.ropescope, ["--benchmark", "mmbench", "--check", "--data", arguments.benchmark / name])
        report = lines[0]
        expect(code == (3 if error else 0) and report.get("file_error") == error, f"{name}: exit code {code}, {report.get('file_error')}")
        if error == "missing_column":
            expect(report["column"] == "answer", f"{name}: {report['column']}")
            continue
        expect(report["rejected"] == rejected, f"{name}: rejected {report['rejected']}, expected {rejected}")
        expect([item["question"] for item in report["items"]] == questions, f"{name}: questions")
        expect(report["n_circular_groups"] == groups, f"{name}: {report['n_circular_groups']} questions, expected {groups}")


def check_run(one, folder):
    """Every sample and the figure of one run; returns [(item, output, score)]."""
    name = one["benchmark"]
    summary = json.loads((folder / "summary.json").read_text())
    samples = {}
    for line in (folder / "samples.jsonl").read_text().splitlines():
        sample = json.loads(line)
        samples[sample["record"]] = sample
    items = [item for item in one["records"] if "error" not in item]
    broken = {item["record"]: item["error"] for item in one["records"] if "error" in item}
    found = {item["record"]: item["error"] for item in summary["rejected"]}
    expect(found.keys() == broken.keys(), f"{folder.name}: rejected {found}, expected {broken}")
    for record, error in broken.items():
        expect(error in found.get(record, ""), f"{folder.name} record {record}: {found.get(record)}, expected {error}")
    expect(summary["failed"] == sum("fails" in item for item in items), f"{folder.name}: {summary['failed']} failed")
    expect(samples.keys() == {item["record"] for item in items}, f"{folder.name}: other records are answered")
    scored, result = [], []
    for item in items:
        sample = samples[item["record"]]
        where = f"{folder.name} record {item['record']}"
        score, _ = reference_scoring.score(name, item["doc"], sample["output"], summary["profile"], summary["policy"])
        expect(abs(score - sample["score"]) < 1e-9, f"{where}: {sample['output']!r} scored {sample['score']}, expected {score}")
        expect(sample["prompt"] == item["prompt"], f"{where}: the prompt {sample['prompt']!r}, expected {item['prompt']!r}")
        expect(("error" in sample) == ("fails" in item), f"{where}: {sample.get('error')}")
        scored.append((item["doc"], score))
        result.append((item, sample["output"], score))
    expected = reference_scoring.headline(name, scored)
    expect(abs(expected - summary["percent"]) < 1e-9, f"{folder.name}: {summary['percent']} %, expected {expected}")
    return result, summary["percent"]


def wilson(right, count):
    z, p = 1.959964, right / count
    middle, half = p + z * z / (2 * count), z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def share(rows):
    right = sum(rows)
    low, high = wilson(right, len(rows))
    return f"{right / len(rows):.2f} [{low:.2f}, {high:.2f}]"


def check_runs(arguments, truth):
    schemes = arguments.schemes.split(";")
    by_kind, figures, checked, own = {}, {}, 0, {}
    for name, one in truth.items():
        for scheme in schemes:
            result, figures[name, scheme] = check_run(one, arguments.runs / f"{name}-{scheme}")
            checked += len(result)
            if name.startswith("realworldqa_own"):  # the same questions in every form: the same answers, and counted once
                outputs = [output for _, output, _ in result]
                expect(own.setdefault(scheme, outputs) == outputs, f"{name}-{scheme}: other answers than in another form")
                if own[scheme] is not outputs:
                    continue
            for item, output, _ in result:
                right = output.strip().lower() == item["right"].lower()  # (what the generator knows, whatever the rules)
                by_kind.setdefault(item["kind"], {}).setdefault((scheme, item["grid"]), []).append(right)
    lines = ["| answers | " + " | ".join(f"{scheme}, {grid} grids" for scheme in schemes for grid in ("seen", "unseen")) + " | questions |"]
    lines.append("|" + "---|" * (2 + 2 * len(schemes)))
    for kind, cells in by_kind.items():
        row = [share(cells[scheme, grid]) for scheme in schemes for grid in ("seen", "unseen")]
        count = " + ".join(str(len(cells[schemes[0], grid])) for grid in ("seen", "unseen"))
        lines.append(f"| {kind} | " + " | ".join(row) + f" | {count} |")
    lines += ["", "| benchmark | file | " + " | ".join(schemes) + " |", "|" + "---|" * (2 + len(schemes))]
    for name, one in truth.items():
        lines.append(f"| {name} | {one['form']} | " + " | ".join(f"{figures[name, scheme]:.1f}" for scheme in schemes) + " |")
    table = "\n".join(lines) + "\n"
    if arguments.table:
        arguments.table.write_text(table)
    print(table)
    print(f"{checked} answers of {len(figures)} runs scored again: every score, prompt, rejected record and figure agrees" if not FAULTS else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["oracle", "runs"])
    parser.add_argument("--benchmark", required=True, type=pathlib.Path)
    parser.add_argument("--ropescope")
    parser.add_argument("--runs", type=pathlib.Path)
    parser.add_argument("--schemes", default="vanilla;id-align")
    parser.add_argument("--profiles", default="paper,current")
    parser.add_argument("--benchmarks", help="only these")
    parser.add_argument("--table", type=pathlib.Path)
    arguments = parser.parse_args()
    truth = json.loads((arguments.benchmark / "truth.json").read_text())
    if arguments.benchmarks:
        truth = {name: truth[name] for name in arguments.benchmarks.split(",")}
    (check_oracle if arguments.what == "oracle" else check_runs)(arguments, truth)
    sys.exit(1 if FAULTS else 0)


if __name__ == "__main__":
    main()
