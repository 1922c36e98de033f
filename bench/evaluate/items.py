"""Questions for the benchmark, from entries of the FOLDOC dictionary: the term is asked, its definition is given.

  choice  four terms to choose from, in the form of AI2D: prompts of 60 to 400 tokens, answers of at most 16
  short   the term itself, in the form of DocVQA: prompts of 40 to 120 tokens, answers of at most 32
"""

import json
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "decay"))
from corpus import dictd_entries

BENCHMARKS = {"choice": ("ai2d", 16), "short": ("docvqa", 32)}


def definitions(stem):
    """(term, definition) of entries whose definition does not name the term."""
    pairs = []
    for entry in dictd_entries(stem):
        term, _, rest = entry.partition("\n")
        words = " ".join(re.sub(r"[{}<>]", "", rest).split())
        if 3 < len(term) < 40 and len(words) > 120 and term.lower() not in words.lower():
            pairs.append((term.strip(), words))
    return pairs


def write_items(kind, stem, count, path):
    chance = random.Random(7)
    pairs = chance.sample(definitions(stem), count)
    with open(path, "w", encoding="utf-8") as file:
        for number, (term, words) in enumerate(pairs):
            if kind == "choice":
                others = [pairs[j][0] for j in chance.sample([j for j in range(count) if j != number], 3)]
                options = others + [term]
                chance.shuffle(options)
                question = f"Which term is defined here? {words[: chance.randint(120, 1500)]}"
                item = {"question": question, "options": options, "answer": str(options.index(term))}
            else:
                question = f"Which term is defined here? {words[: chance.randint(80, 400)]}"
                item = {"question": question, "answers": [term], "questionId": number}
            file.write(json.dumps(item) + "\n")
