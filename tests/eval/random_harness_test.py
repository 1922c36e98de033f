"""`ropescope score` against reference_harnesses.py on made-up answers, under the profiles that have each benchmark.

    random_harness_test.py --ropescope build/ropescope [--items 600] [--seed 0]
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import reference_harnesses

PARTS = "A B C D E a b c d (A) (B) (c) [D] B. C: **A** *D* the The answer Answer answers ANSWER is IS are not option Option choice".split()
PARTS += "correct : , . ! ? - ( ) [ ] because and or so I think yes no Z 1 12 3 é \u017f \u00a0 banana crab # {B} answeris isA".split(" ")
PARTS += ["\n", "\t", "\uff22", "\u3000"]
OBJECTS = "lamp kettle compass sled buoy teapot hammer anchor violin ladder thermos bucket lantern whistle".split()
TYPES = ["Handwriting Recognition", "Handwritten Mathematical Expression Recognition"]


def answer_for(rng, texts):
    parts = PARTS + texts * 3
    text = "".join(rng.choice(parts) + rng.choice([" ", " ", " ", "", "  ", "\n"]) for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 6, 10, 30])))
    return text if rng.random() < 0.5 else text.strip()


def item_for(rng, benchmark, profile, number):
    texts = rng.sample(OBJECTS, 4)
    answer = answer_for(rng, texts)
    options = dict(zip("ABCDE", rng.sample(OBJECTS, rng.choice([2, 3, 4, 5]))))
    if benchmark.startswith("hrbench"):
        options = dict(zip("ABCD", texts))
        doc = {"question": f"Which? {number}", **options, "category": rng.choice(["single", "cross"]), "cycle_category": str(number % 4)}
    elif benchmark == "ocrbench":
        golds = [answer_for(rng, texts)[: rng.randint(1, 6)] for _ in range(rng.choice([1, 2]))]
        answer = answer_for(rng, golds + texts)
        kind = rng.choice(TYPES)
        doc = {"question": "?", "answer": golds, "question_type": kind, "dataset": "HME100k" if kind == TYPES[1] else "x"}
        return ({"question": "?", "answer": str(golds), "category": kind} if profile == "vlmevalkit" else doc), answer
    elif benchmark == "countbenchqa":
        count = rng.choice([1, 2, 3, 12])
        return {"question": "?", "answer" if profile == "vlmevalkit" else "number": count}, rng.choice([answer, str(count), f" {count}\n"])
    elif benchmark == "mmvp" and profile == "current":
        return {"Index": number + 1, "Question": "?", "Options": "(a) red (b) blue", "Correct Answer": rng.choice(["(a)", "(b)"])}, answer
    elif benchmark == "vstar" and profile != "vlmevalkit":
        return {"text": "?", "label": rng.choice("ABCD"), "category": "direct_attributes"}, answer
    else:
        doc = {"index": number, "question": "?", **options, "category": "x"}
        answer = answer_for(rng, list(options.values()))
    return {**doc, "answer": rng.choice(list(options))}, answer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ropescope", required=True)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    profiles = {"hrbench_4k": "paper current vlmevalkit", "vstar": "paper current vlmevalkit", "mmvp": "current vlmevalkit"}
    profiles |= {"ocrbench": "paper current vlmevalkit", "countbenchqa": "current vlmevalkit", "blink": "vlmevalkit", "ai2d": "vlmevalkit"}
    compared = right = differences = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "items.jsonl"
        for benchmark, profile in ((name, profile) for name, several in profiles.items() for profile in several.split()):
            rng = random.Random(f"{benchmark} {profile} {arguments.seed}")
            items = [item_for(rng, benchmark, profile, number) for number in range(arguments.items)]
            path.write_text("".join(json.dumps({"doc": doc, "output": answer}) + "\n" for doc, answer in items))
            command = [arguments.ropescope, "score", "--benchmark", benchmark, "--profile", profile, "--items", path, "--json"]
            run = subprocess.run(command, capture_output=True, text=True)
            lines = [json.loads(line) for line in run.stdout.splitlines()]
            if len(lines) != len(items) + 1:
                sys.exit(f"{benchmark}: {len(lines)} lines for {len(items)} items; {run.stderr}")
            undecided = 0
            for (doc, answer), line in zip(items, lines):
                read, score, open_ = reference_harnesses.reading(benchmark, doc, answer, profile)
                compared += 1
                right += score > 0
                undecided += open_
                found = (line.get("extracted"), line.get("score"), line.get("undecided", False))
                if found != (read, score, open_):
                    differences += 1
                    if differences <= 20:
                        print(f"{benchmark} {profile}: {doc} {answer!r}\n  found {line}\n  expected {read!r} {score} {open_}")
            if "judge" in lines[-1] and lines[-1]["judge"]["undecided"] != undecided:
                differences += 1
                print(f"{benchmark} {profile}: {lines[-1]['judge']}, expected {undecided} undecided")
    print(f"{compared} answers compared, {right} of them scored above 0, {differences} differ")
    assert right > compared // 20, "nearly everything is wrong: the test compares little"
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
