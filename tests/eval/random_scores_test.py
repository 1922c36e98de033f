"""`ropescope score` against reference_scoring.py on thousands of made-up answers: pieces that the rules treat apart (letters,
brackets, numbers, odd white space, letters whose lower case is longer, phrases) joined by chance.

    random_scores_test.py --ropescope build/ropescope [--items 1500] [--seed 0]
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import reference_scoring

LETTERS = ["A", "B", "C", "D", "E", "(A)", "(B)", "(C).", "D.", "B,", ":C", "A:", "b", "a)", "**B**", "Option B", "option c"]
PHRASES = ["the answer is", "The correct answer is", "I choose", "my answer is", "答案是", "답:", "선", "选", "Answer:", "because"]
WORDS = ["dog", "a", "an", "The", "banana", "nan", "Panda", "t-shirt", "NIKE", "dont", "Im", "its", "he's", "let's", "o'clock"]
WORDS += ["yes", "Yes.", "no", "No", "not", "none", "know", "eyes", "y", "N", "red sled", "sled", "lamp", "can't", "couldn'tve"]
NUMBERS = ["zero", "one", "ten", "eleven", "twenty", "ninety", "3", "3.", ".5", "3.5", "1,000", "1,,000", "1, 2", "12", "0", "-7"]
NUMBERS += ["45%", "0.45", "4.5e1", "1_000", "1__0", "inf", "-nan", "Infinity", "0x1f", "٣", "１２", "½", "²", "5 %", "%", "5%%", "+4"]
SPACES = [" ", " ", " ", "\n", "\t", "  ", "\u00a0", "\u2003", "\x1c", "\x85", "\u2028", "\u200b", "\r\n", "\x0b", "\ufeff"]
MARKS = list("()[]{}.,:;!?'\"*`-_=+/\\<>@#$%&~^|") + ["...", "''", "、", "。", "…", "“"]
UNICODE = ["É", "ß", "İ", "ıI", "Σ", "ΑΣ", "ΑΣΑ", "Σ.", "ǅ", "ǆ", "ﬀ", "ŉ", "ΐ", "K", "e\u0301", "漢字", "कि", "😀", "Ⅷ", "ⓑ", "A\u0301", "Ａ"]
BOXES = ["[0.1, 0.2, 0.5, 0.6]", "[ 0,0 ,1,1]", "[0.2,0.2,\n0.6,0.7 ]", "[1, -1, 0.5, .5]", "[[0, 0, 1, 1]]", "[0.30,0.1,0.9,٠.5]"]
BOXES += ['{"bbox_2d": [100, 200, 500, 600]}', "```json\n[{\"bbox_2d\": [12, 20, 50, 64], \"label\": \"x\"}]\n```", "(100,200),(500,600)", "[0, 0, 1200, 40]"]
BOXES += ["[100 200 500 600]", "[640, 20, 700, 30]", "[20, 480, 30, 490]", "(10, 20)", "[[10, 20, 30, 4", "[-1, 2, 30, 40]", "(1 2) ( 3,4 )"]
SAID = ["The best answer is", "The answer", "The best option isThe correct option is", "Best answer:Best option:", ")", "(", "D)", "x)y"]
TIMES = ["3.5", "8", "12.", "0:03", "00:00:08", "1:02:03", "1:234", "3s", "8.2s", "-", " - ", "–", " to ", "starts", "ends", "happens in", "start time"]
TIMES += ["seconds", "! ", "?\n", "\nend", "A specific example is : 20.8 - 30.0 seconds", "1..2 - 3", "4 - 9", "4.0-9.0", "from 1 to 5 s", "end 7", "start 2\nend 6"]
LISTS = ["[1, 2]", "```json\n[2, 3, 0]\n```", '{"a": [1], "b": [2, 3]}', "[1.0, 2]", "[true, 2]", "[1, 2", "{}", '{"a": 1}', "[]", '["1", 2]']
KINDS = [LETTERS, PHRASES, WORDS, NUMBERS, MARKS, UNICODE]
CATEGORIES = ["perception", "coarse", "Été"]


def pieces(rng, more=(), most=6):
    kinds = KINDS + [more] * (2 if more else 0)
    parts = []
    for _ in range(rng.randint(0, most)):
        parts.append(rng.choice(rng.choice(kinds)))
        if rng.random() < 0.7:
            parts.append(rng.choice(SPACES))
    return "".join(parts)


def short(rng):
    return pieces(rng, most=2) or "dog"


def output_for(rng, texts):
    """Often one text that could be right, plain or in a frame; else anything."""
    if texts and rng.random() < 0.5:
        text = rng.choice(texts)
        frame = rng.choice(["{}", "{}", "{}.", " {} ", "It is {}", "({})", "{}\n", "the answer is {}", "\u00a0{}", "{}, {}"])
        return frame.format(text, rng.choice(texts))
    return pieces(rng, texts)


def doc_for(benchmark, rng, number):
    question = short(rng) + "?"
    options = [short(rng) for _ in range(rng.randint(2, 5))]
    letter = rng.randrange(len(options))
    if benchmark == "mmbench":
        doc = {"index": number % 500 + 1000000 * (number // 500), "question": question, "answer": chr(65 + min(letter, 3))}
        doc |= {x: rng.choice(options + ["nan", None]) for x in "ABCD"}
        return doc, options + LETTERS
    if benchmark == "mmstar":
        return {"question": question, "answer": rng.choice("ABCD"), "category": rng.choice(CATEGORIES), "l2_category": short(rng)}, LETTERS
    if benchmark == "realworldqa":
        lines = "\n".join(f"{chr(65 + i)}. {text}" for i, text in enumerate(options))
        question = rng.choice([question, f"{question}\n\n{lines}\nAnswer with a letter.", f"{question} {lines}"])
        return {"question": question, "answer": rng.choice(["A", "B", "C", "yes", "3", short(rng)])}, options + ["Two", "ten", "three."]
    if benchmark == "seedbench_2_plus":
        doc = {"question": question, "answer": rng.choice("ABCD"), "question_image_type": rng.choice(["chart", "map", "web"])}
        return doc | {f"choice_{x}": rng.choice(options) for x in "ABCD"} | {"question_id": str(number)}, LETTERS
    if benchmark == "pope":
        return {"question": question, "answer": rng.choice(["yes", "no"]), "category": rng.choice(CATEGORIES)}, ["YES", " no\n", "Yes"]
    if benchmark == "mme":
        category = rng.choice(["existence", "OCR", "code_reasoning"])
        return {"question_id": str(number // 2), "question": question, "answer": rng.choice(["Yes", "No"]), "category": category}, ["yes", "n.o", "y."]
    if benchmark == "ai2d":
        return {"question": question, "options": options, "answer": str(letter)}, LETTERS
    if benchmark in ("vqav2", "textvqa"):
        pool = [short(rng) for _ in range(rng.randint(1, 4))]
        answers = [rng.choice(pool) for _ in range(10)]
        if benchmark == "vqav2" and rng.random() < 0.5:
            answers = [{"answer": answer, "answer_id": i} for i, answer in enumerate(answers)]
        return {"question": question, "question_id": number, "answers": answers}, pool
    if benchmark == "scienceqa_img":
        return {"question": question, "choices": options, "answer": letter, "hint": rng.choice(["", "x"])}, LETTERS
    if benchmark == "docvqa":
        answers = [short(rng) + short(rng) for _ in range(rng.randint(1, 3))]
        return {"questionId": number, "question": question, "answers": answers}, answers
    if benchmark == "chartqa":
        answer = rng.choice(NUMBERS + WORDS + UNICODE)
        return {"question": question, "answer": answer, "type": rng.choice(["human_test", "augmented_test"])}, [answer] + NUMBERS
    if benchmark == "mmmu_mc":
        doc = {"id": f"validation_Art_{number}", "question": question, "question_type": "multiple-choice"}
        return doc | {"options": repr(options), "answer": chr(65 + letter)}, options + LETTERS
    if benchmark == "mvbench":
        answer = options[letter]
        return {"video": "a", "question": question, "candidates": options, "answer": answer, "task": rng.choice(CATEGORIES)}, options + LETTERS
    if benchmark in ("videomme", "mlvu", "lvbench"):
        doc = {"question": f"{question}\n(A) a\n(B) b\n(C) c\n(D) d", "answer": rng.choice("ABCD"), "video": rng.choice("xyz")}
        return doc | ({"task_type": rng.choice(["count", "ego", "order"])} if benchmark == "mlvu" else {"options": options}), LETTERS + SAID
    if benchmark == "charades_sta":
        times = sorted(rng.choice([0, 1.5, 4, 4.0, 9, 20]) for _ in range(2))
        return {"video": rng.choice("xyz"), "caption": question, "timestamp": times}, TIMES * 3
    if benchmark in reference_scoring.BOXES:
        (left, right), (top, bottom) = (sorted(round(rng.random(), 2) for _ in range(2)) for _ in range(2))
        scale = {"box_scale": rng.choice(["unit", "pixels", "thousand"]), "input_size": [640, 480]}
        doc = {"question_id": number, "answer": question, "bbox": [left, top, right, bottom]}
        return doc | (scale if benchmark == "refcocog_rec" else {}), BOXES
    task = rng.choice(["choice", "text", "counting"])
    answer = {"choice": rng.randrange(4), "text": rng.choice([short(rng), NUMBERS[:9]]), "counting": [1, 2, 3]}[task]
    return {"task": task, "answer": answer}, LISTS + LETTERS + NUMBERS + ([answer] if isinstance(answer, str) else [])


def difference(benchmark, line, expected, text):
    if "score" not in line or abs(line["score"] - expected) > 1e-9:
        return True
    if text is ...:
        return False
    found = line["processed"] if "processed" in line else line["extracted"]
    return found != text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ropescope", required=True)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = "mmbench mmstar realworldqa seedbench_2_plus pope mme ai2d vqav2 scienceqa_img docvqa chartqa textvqa mmmu_mc".split()
    compared = right = differences = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "items.jsonl"
        names += [*reference_scoring.BOXES, "mmniah", "mvbench", "videomme", "mlvu", "lvbench", "charades_sta"]
        for benchmark in names:
            rng = random.Random(f"{benchmark} {arguments.seed}")
            items = []
            for number in range(arguments.items + arguments.items % 2):
                doc, texts = doc_for(benchmark, rng, number)
                if benchmark == "mme" and number % 2:
                    doc["category"] = items[-1]["doc"]["category"]
                items.append({"doc": doc, "output": output_for(rng, [str(text) for text in texts])})
            path.write_text("".join(json.dumps(item) + "\n" for item in items))
            for profile, policy in (("paper", "exact"), ("current", "static")):
                if benchmark == "lvbench" and profile == "paper":
                    continue
                command = [arguments.ropescope, "score", "--benchmark", benchmark, "--items", path, "--json"]
                command += ["--profile", profile, "--policy", policy]
                run = subprocess.run(command, capture_output=True, text=True)
                lines = [json.loads(line) for line in run.stdout.splitlines()]
                if len(lines) != len(items) + 1:
                    sys.exit(f"{benchmark}: {len(lines)} lines for {len(items)} items; {run.stderr}")
                scored = []
                for item, line in zip(items, lines):
                    expected, text = reference_scoring.score(benchmark, item["doc"], item["output"], profile, policy)
                    scored.append((item["doc"], expected))
                    compared += 1
                    right += expected > 0
                    if difference(benchmark, line, expected, text):
                        differences += 1
                        if differences <= 20:
                            print(f"{benchmark} {profile}: {json.dumps(item)}\n  found {line}\n  expected {expected} {text!r}")
                found, expected = reference_scoring.figure(benchmark, lines[-1]["aggregates"]), reference_scoring.headline(benchmark, scored)
                if abs(found - expected) > 1e-9:
                    differences += 1
                    print(f"{benchmark} {profile}: {found} %, expected {expected}")
                if benchmark == "textvqa":
                    for item, line in zip(items, lines):
                        assert line["prompt"].startswith(item["doc"]["question"].capitalize() + "\n"), (item, line)
    print(f"{compared} answers compared, {right} of them scored above 0, {differences} differ")
    assert right > compared // 20, "nearly everything is wrong: the test compares little"
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
