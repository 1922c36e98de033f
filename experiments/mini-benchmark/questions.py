#!/usr/bin/env python3
"""Questions about generated pictures in the file forms and columns of fifteen benchmarks, with what is true about each.

    questions.py --pictures drawn --output benchmark [--rows 128] [--train pictures/train] [--no-parquet]

--pictures  the folder that `ropescope-miniature draw` filled: seen/ and unseen/ (grids of the high-resolution tokens)
--train     pictures that a model was trained on: writes train.json, conversations in LLaVA's form with the benchmarks' prompts
Written: questions in the miniature's own form as TSV, JSONL and parquet; mmbench and pope as VLMEvalKit's TSV, mmstar, realworldqa, ai2d, chartqa, mmmu_mc and refcoco_rec as parquet with the
pictures inside, the others as JSONL with picture files; truth.json has for every record its columns, its prompt, an answer that is
right and one that is wrong, and which records are broken and why.
"""
import argparse
import base64
import csv
import json
import math
import os
import pathlib
import random

COLOURS = "red green blue yellow magenta cyan white black orange lime mint azure violet rose aqua pink".split()
GLYPHS = "dots pillars layers waves".split()
SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
PERCEPTION = "existence count position color posters celebrity scene landmark artwork OCR".split()
CATEGORIES = PERCEPTION + "commonsense_reasoning numerical_calculation text_translation code_reasoning".split()
ABILITIES = ["coarse perception", "fine-grained perception", "instance reasoning", "logical reasoning", "science & technology", "math"]
L2 = ["coarse_perception", "finegrained_perception (instance-level)", "finegrained_perception (cross-instance)"]
L2 += ["attribute_reasoning", "relation_reasoning", "logic_reasoning"]
BOX = """Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). All values \
are floating point numbers bounded between 0 and 1. Please provide the bounding box coordinate of the region this sentence describes: """


class Ask:
    """One cell of a picture: its colour is named, its glyph is asked for."""

    def __init__(self, picture, rng):
        self.cell = rng.randrange(16)
        self.colour, self.glyph = COLOURS[picture["colours"][self.cell]], GLYPHS[picture["glyphs"][self.cell]]
        self.other = rng.choice([glyph for glyph in GLYPHS if glyph != self.glyph])
        self.question = f"What glyph is in the {self.colour} cell?"
        self.options = rng.sample(GLYPHS, 4)
        self.shown, self.picture = rng.choice([self.glyph, self.other]), picture

    index = property(lambda self: self.options.index(self.glyph))
    letter = property(lambda self: "ABCD"[self.index])
    wrong_letter = property(lambda self: "ABCD"[(self.index + 1) % 4])
    lines = property(lambda self: "\n".join(f"{x}. {text}" for x, text in zip("ABCD", self.options)))


def word(ask, doc, prompt, wrong=None):
    return {"kind": "word", "doc": doc, "prompt": prompt, "right": ask.glyph, "wrong": wrong or ask.other}


def letter(ask, doc, prompt):
    return {"kind": "letter", "doc": doc, "prompt": prompt, "right": ask.letter, "wrong": ask.wrong_letter}


def vqav2(ask, i):
    answers = [{"answer": ask.glyph, "answer_confidence": "yes", "answer_id": k + 1} for k in range(10)]
    return word(ask, {"question_id": i, "question": ask.question, "answers": answers}, ask.question + SHORT)


def docvqa(ask, i):
    doc = {"questionId": str(i), "question": ask.question, "answers": [ask.glyph]}
    return word(ask, doc, ask.question + SHORT, "nothing of the kind")


def textvqa(ask, i):
    doc = {"question_id": i, "question": ask.question, "answers": [ask.glyph] * 10, "ocr_tokens": ["none"]}
    return word(ask, doc, ask.question.capitalize() + SHORT)


def chartqa(ask, i):
    doc = {"question": ask.question, "answer": ask.glyph, "type": ["human_test", "augmented_test"][i // 2 % 2]}
    return word(ask, doc, ask.question + "\nAnswer the question with a single word.")


def mmniah(ask, i):
    meta = {"placed_depth": i // 2 % 5 / 5, "context_length": 1000 + 500 * (i // 2 % 8), "choices": None}
    doc = {"id": i, "context": "<image>", "question": ask.question, "answer": ask.glyph, "meta": meta}
    return word(ask, doc, "<image>\n" + ask.question + SHORT)


def realworldqa(ask, i):
    if i // 2 % 2 == 0:
        return word(ask, {"question": ask.question + SHORT, "answer": ask.glyph}, ask.question + SHORT)
    question = f"{ask.question}\n{ask.lines}\n{LETTER}"
    return letter(ask, {"question": question, "answer": ask.letter}, question)


def realworldqa_own(ask, i):
    """The form in which the miniature's models were taught: a colour, answered by a glyph. RealWorldQA adds nothing to a question."""
    question = f"<image> {ask.colour}"
    return word(ask, {"question": question, "answer": ask.glyph}, question) | {"kind": "own form"}


def mmbench(ask, i):
    question = ask.question + ('\n("' + ask.colour + '" is a\tcolour.)' if i // 2 % 8 == 7 else "")
    doc = {"index": i, "question": question, "hint": "Look closely." if i // 2 % 8 == 3 else ""} | dict(zip("ABCD", ask.options))
    doc |= {"answer": ask.letter, "category": f"glyph_{i // 2 % 3}", "l2-category": L2[i // 2 % 6], "split": "dev"}
    hint = doc["hint"] + " " if doc["hint"] else ""
    return letter(ask, doc, f"{hint}{question} There are several options:\n{ask.lines}\n\n{LETTER}")


def mmstar(ask, i):
    question = f"{ask.question}\nOptions: " + ", ".join(f"{x}: {text}" for x, text in zip("ABCD", ask.options))
    doc = {"index": i, "question": question, "answer": ask.letter, "category": ABILITIES[i // 2 % 6], "l2_category": f"kind {i // 2 % 18}"}
    return letter(ask, doc, f"{question}\n{LETTER[:-1]}")


def seedbench_2_plus(ask, i):
    doc = {"question": ask.question, "answer": ask.letter, "question_image_type": ["chart", "map", "web"][i // 2 % 3], "question_id": str(i)}
    return letter(ask, doc | {f"choice_{x}": o for x, o in zip("ABCD", ask.options)}, f"{ask.question}\n{ask.lines}\n{LETTER}")


def ai2d(ask, i):
    doc = {"question": ask.question, "options": ask.options, "answer": str(ask.index)}
    return letter(ask, doc, f"{ask.question}\n{ask.lines}\n{LETTER}")


def scienceqa_img(ask, i):
    hint = "Every cell has a glyph." if i // 2 % 2 else ""
    doc = {"question": ask.question, "choices": ask.options, "answer": ask.index, "hint": hint}
    context = f"Context: {hint}\n" if hint else ""
    return letter(ask, doc, f"{context}{ask.question}\n{ask.lines}\n{LETTER}")


def mmmu_mc(ask, i):
    doc = {"id": f"validation_{['Art', 'Art_Theory', 'Physics'][i // 2 % 3]}_{i}", "question": ask.question + " <image 1>"}
    doc |= {"options": str(ask.options), "answer": ask.letter, "question_type": "multiple-choice"}
    return letter(ask, doc, f"{doc['question']}\n{ask.lines}\n\n{LETTER}")


def yes_no(ask, doc, prompt):
    right, wrong = ("yes", "no") if ask.shown == ask.glyph else ("no", "yes")
    return {"kind": "yes-no", "doc": doc, "prompt": prompt, "right": right, "wrong": wrong}


def pope(ask, i):
    question = f"Is the glyph in the {ask.colour} cell {ask.shown}?"
    doc = {"question_id": str(i), "question": question, "category": ["adversarial", "popular", "random"][i // 2 % 3]}
    return yes_no(ask, doc | {"answer": "yes" if ask.shown == ask.glyph else "no"}, question + SHORT)


def mme(ask, i):
    question = f"Is the glyph in the {ask.colour} cell {ask.shown}?"
    doc = {"question_id": f"{i // 2}.png", "question": question + " Please answer yes or no.", "category": CATEGORIES[i // 4 % 14]}
    return yes_no(ask, doc | {"answer": "Yes" if ask.shown == ask.glyph else "No"}, question + SHORT)


def refcoco_rec(ask, i):
    sentence = f"the {ask.colour} cell"
    width, height = 8 * ask.picture["columns"], 8 * ask.picture["rows"]
    x, y = ask.cell % 4, ask.cell // 4
    doc = {"question_id": i, "answer": sentence, "bbox": [x * width / 4, y * height / 4, width / 4, height / 4]}
    box = lambda x, y: str([x / 4, y / 4, (x + 1) / 4, (y + 1) / 4])
    truth = {"kind": "box", "doc": doc | {"image_size": [width, height]}, "prompt": BOX + sentence}
    return truth | {"right": box(x, y), "wrong": box((x + 2) % 4, y)}


TSV, PARQUET = [mmbench, pope], [mmstar, realworldqa, ai2d, chartqa, mmmu_mc, refcoco_rec]
JSONL = [mme, vqav2, scienceqa_img, docvqa, textvqa, seedbench_2_plus, mmniah]
OWN = [("tsv", "_tsv"), ("jsonl", "_jsonl"), ("parquet", "_parquet")]  # the same questions in every form
TRAINED = [make for make in TSV + PARQUET + JSONL if make is not refcoco_rec]
# What a figure is a mean of comes in full sets: categories of equal size.
SETS = {"mmstar": 36, "mme": 56, "pope": 6, "refcoco_rec": 4}


def read_album(folder, grid):
    pictures = json.loads((folder / "pictures.json").read_text())
    return [picture | {"file": folder / picture["image"], "grid": grid} for picture in pictures]


def ask_all(make, albums, rows, seed):
    """Rows of a benchmark, every other one on an unseen grid."""
    rng = random.Random(f"{make.__name__} {seed}")
    step = SETS.get(make.__name__, 1)
    items = []
    for i in range(math.ceil(rows / step) * step):
        unit = i // 2 if make in (mme, refcoco_rec) else i
        picture = albums[unit % 2][unit // 2 % len(albums[unit % 2])]
        if make is refcoco_rec and i % 2:  # (a second sentence for the same box)
            items.append(json.loads(json.dumps(items[-1], default=str)) | {"file": picture["file"], "unit": unit + 0.5})
            items[-1]["doc"]["answer"] += " of the picture"
            items[-1]["prompt"] += " of the picture"
            continue
        item = make(Ask(picture, rng), i) | {"unit": unit if make is mme else i}
        items.append(item | {"grid": picture["grid"], "file": picture["file"]})
    return items


def rotated(item, shift):
    """A question of MMBench with its options moved on, as a row that has its picture from the main row."""
    main = item["doc"]
    options = [main[x] for x in "ABCD"]
    options = options[-shift:] + options[:-shift]
    answer = "ABCD"[options.index(main[main["answer"]])]
    doc = main | dict(zip("ABCD", options)) | {"index": main["index"] + shift * 1000000, "answer": answer}
    prompt = item["prompt"]
    for x in "ABCD":
        prompt = prompt.replace(f"\n{x}. {main[x]}\n", f"\n{x}. {doc[x]}\n")
    return item | {"doc": doc, "prompt": prompt, "right": answer, "wrong": "ABCD"["ABCD".index(answer) - 1]}


def tsv_rows(items, make):
    """Columns of the file, pictures included. Of the rows on one picture only one holds it."""
    holder = {}
    for item in items:
        holder.setdefault(item["file"], item["doc"].get("index", item["unit"]))
    for item in items:
        doc = dict(item["doc"])
        index = doc.setdefault("index", item["unit"])
        held = holder[item["file"]]
        doc["image"] = base64.b64encode(item["file"].read_bytes()).decode() if held == index else str(held)
        yield doc | ({"comment": 'a "note"\tof\ntwo lines'} if make is mmbench else {})


def break_rows(rows):
    """(row or list of cells, error): one or more rows for each reason to reject one."""
    good = next(row for row in rows if len(row["image"]) > 64)
    reference = next(row for row in rows if len(row["image"]) <= 64)
    picture = base64.b64decode(good["image"])
    new = lambda number, **cells: good | {"index": 500000 + number} | cells
    yield [500000, "too", "short"], "field_count"
    yield good | {"index": "x7"}, "bad_index"
    yield dict(good), "duplicate_index"
    yield new(1, question=""), "missing_question"
    yield new(2, B="", C="", D="", answer="A"), "too_few_options"
    yield new(3, answer="E"), "bad_answer"
    yield new(4, answer=""), "bad_answer"
    yield new(5, image=""), "missing_image"
    yield new(6, image=good["image"][:-4] + "*AA="), "bad_base64"
    yield new(7, image=good["image"] + "A"), "bad_base64"
    yield new(8, image=base64.b64encode(picture[: len(picture) // 2]).decode()), "bad_image"
    yield new(9, image=base64.b64encode(b"no picture at all, " * 5).decode()), "bad_image"
    yield new(10, image="999999"), "dangling_image_ref"
    yield new(11, image=str(500008)), "dangling_image_ref"
    yield new(12, image=str(reference["index"])), "dangling_image_ref"


def write_tsv(path, columns, rows, windows=False):
    with open(path, "w", encoding="utf-8-sig" if windows else "utf-8", newline="") as out:
        writer = csv.writer(out, delimiter="\t", lineterminator="\r\n" if windows else "\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row if isinstance(row, list) else [row.get(column, "") for column in columns])


def make_tsv(make, items, folder, rng, name=None):
    if make is mmbench:
        items = [rotated(item, shift) if shift else item for item in items for shift in range(4)]
        rng.shuffle(items)
    rows = list(tsv_rows(items, make))
    columns = list(rows[0])
    broken = list(break_rows(rows)) if make is mmbench else []
    for row, error in broken:
        # (behind the row that it repeats or refers to)
        place = rng.randrange(len(rows) + 1) if error != "duplicate_index" else len(rows)
        rows.insert(place, row)
        items.insert(place, {"error": error})
    write_tsv(folder / f"{name or make.__name__}.tsv", columns, rows)
    if make is mmbench:
        write_tsv(folder / "mmbench_windows.tsv", columns[::-1], [row[::-1] if isinstance(row, list) else row for row in rows], True)
        write_tsv(folder / "mmbench_no_answer_column.tsv", [column for column in columns if column not in ("answer", "split")], rows)
        text = (folder / "mmbench.tsv").read_text()
        (folder / "mmbench_unclosed.tsv").write_text(text + '7\t"a quote that is left open\t\n')
    return items


def make_jsonl(make, items, folder, rng, name=None):
    column = "images_list" if make is mmniah else "image"
    lines = []
    for item in items:
        picture = os.path.relpath(item["file"], folder)
        lines.append(json.dumps(item["doc"] | {column: [picture] if make is mmniah else picture}))
    if make is vqav2:
        doc = items[0]["doc"]
        no_answers = {key: value for key, value in doc.items() if key != "answers"}
        for line, error in (("{", "not valid JSON"), ("[1]", "an object"), (json.dumps(no_answers), "answers"), ('{"a": 1}', "question")):
            place = rng.randrange(len(items) + 1)
            lines.insert(place, line)
            items.insert(place, {"error": error})
    if make is docvqa:  # a record that can be read, with a picture that cannot
        (folder / "cut_off.png").write_bytes(items[3]["file"].read_bytes()[:200])
        lines[3] = json.dumps(items[3]["doc"] | {"image": "cut_off.png"})
        items[3]["fails"] = True
    (folder / f"{name or make.__name__}.jsonl").write_text("".join(line + "\n" for line in lines))
    return items


def make_parquet(make, items, folder, rng, name=None):
    import pyarrow
    import pyarrow.parquet

    rows = []
    for item in items:
        row = {key: value for key, value in item["doc"].items() if key != "image_size"}
        picture = {"bytes": item["file"].read_bytes(), "path": item["file"].name}
        if make is refcoco_rec and item["unit"] % 1:
            rows[-1]["answer"].append(row["answer"])
            continue
        if make is refcoco_rec:
            row["answer"] = [row["answer"]]
        rows.append(row | ({"image_1": picture, "image_2": None} if make is mmmu_mc else {"image": picture}))
    half = len(rows) // 2  # two shards, as the hub has them
    for shard, part in enumerate((rows[:half], rows[half:])):
        table = pyarrow.Table.from_pylist(part)
        pyarrow.parquet.write_table(table, folder / f"{name or make.__name__}-{shard:05}-of-00002.parquet", row_group_size=50)
    return items


def conversations(pictures, folder, rounds, seed):
    """One conversation a picture, its rounds prompts of the benchmarks."""
    rng = random.Random(f"train {seed}")
    rows = []
    for number, picture in enumerate(pictures):
        talk = []
        for _ in range(rounds):
            item = rng.choice(TRAINED)(Ask(picture, rng), rng.randrange(1000))
            prompt = item["prompt"].removeprefix("<image>\n")
            talk += [{"from": "human", "value": prompt}, {"from": "gpt", "value": item["right"]}]
        talk[0]["value"] = "<image>\n" + talk[0]["value"]
        rows.append({"id": f"{number:05}", "image": picture["image"], "conversations": talk})
    (folder / "train.json").write_text(json.dumps(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--train", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-parquet", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    albums = [read_album(arguments.pictures / grid, grid) for grid in ("seen", "unseen")]
    truth = {}
    for makes, write, form in ((TSV, make_tsv, "tsv"), (JSONL, make_jsonl, "jsonl"), (PARQUET, make_parquet, "parquet")):
        if form == "parquet" and arguments.no_parquet:
            continue
        for make in makes:
            rows = arguments.rows // 2 if make is mmbench else arguments.rows
            items = ask_all(make, albums, rows, arguments.seed)
            items = write(make, items, folder, random.Random(f"{make.__name__} file {arguments.seed}"))
            records = [{k: v for k, v in item.items() if k != "file"} | {"record": i + 1} for i, item in enumerate(items)]
            truth[make.__name__] = {"benchmark": make.__name__, "form": form, "records": records}
    for form, end in OWN if not arguments.no_parquet else OWN[:2]:
        write = {"tsv": make_tsv, "jsonl": make_jsonl, "parquet": make_parquet}[form]
        name = realworldqa_own.__name__ + end
        items = write(realworldqa_own, ask_all(realworldqa_own, albums, 2 * arguments.rows, arguments.seed), folder, rng=None, name=name)
        records = [{k: v for k, v in item.items() if k != "file"} | {"record": i + 1} for i, item in enumerate(items)]
        truth[name] = {"benchmark": "realworldqa", "form": form, "records": records}
    if arguments.train:
        conversations(read_album(arguments.train, "train"), folder, arguments.rounds, arguments.seed)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))
    print(f"{folder}: {sum(len(one['records']) for one in truth.values())} records of {len(truth)} benchmarks")


if __name__ == "__main__":
    main()
