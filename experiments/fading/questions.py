#!/usr/bin/env python3
"""Questions about the miniature's pictures: what glyph is in the cell of a colour?

    questions.py --pictures pictures/unseen --output test.jsonl [--questions N] [--seed N]

One question a picture, in RealWorldQA's form: its prompt is the question and nothing else.
"""
import argparse
import json
import os
import pathlib
import random

COLOURS = "red green blue yellow magenta cyan white black orange lime mint azure violet rose aqua pink".split()
GLYPHS = "dots pillars layers waves".split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    pictures = json.loads((args.pictures / "pictures.json").read_text(encoding="utf-8"))
    with open(args.output, "w", encoding="utf-8") as file:
        for picture in pictures[: args.questions]:
            cell = chance.randrange(16)
            item = {"question": COLOURS[picture["colours"][cell]], "answer": GLYPHS[picture["glyphs"][cell]]}
            item["image"] = os.path.relpath(args.pictures / picture["image"], args.output.parent)
            file.write(json.dumps(item) + "\n")


if __name__ == "__main__":
    main()
