"""Rules of docs/evaluation.md's newer benchmarks and of the profile vlmevalkit once more, in Python, for checks: written from
the description of the rules, apart from src/ropescope/eval. Nothing of the product uses it.

    reading(benchmark, doc, output, profile) -> (what is read, score, undecided)
"""
import ast

MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
FOLDED = {"\u017f": "s", "\u0131": "i", "\u0130": "i"}


def behind(text, word):
    """What follows `word` and at least one blank at the beginning of a text; none for other texts."""
    if not text.startswith(word):
        return None
    rest = text[len(word) :]
    return rest.lstrip() if rest != rest.lstrip() else None


def said_letter(output):
    """The first of a to d that follows "answer is"."""
    folded = "".join(FOLDED.get(c, c.lower() if len(c.lower()) == 1 else c) for c in output)
    for start in range(len(folded)):
        rest = behind(folded[start:], "answer")
        rest = behind(rest, "is") if rest is not None else None
        letter = (rest or "").lstrip("*")[:1]
        if letter and letter in "abcd":
            return letter.upper()
    return None


def choice(output, options, newest):
    """VLMEvalKit's letter: of August 2026, or of May 2025, which HR-Bench's script in lmms-eval has."""
    if "Failed to obtain answer via API" not in output:
        if any(refusal in output for refusal in REFUSALS):
            return "Z"
        words = output.translate(MARKS).split()
        standing = [letter for letter in options if letter in words]
        if len(standing) == 1 and (not newest or len(words) - words.index(standing[0]) <= 4):
            return standing[0]
        if not standing and "Z" in words:
            return "Z"
        if newest and said_letter(output) in options:
            return said_letter(output)
    lowered = output.lower()
    if newest and len(lowered) > 2 * sum(len(text) for text in options.values()):
        return None
    named = [letter for letter, text in options.items() if text.lower() in lowered]
    return named[0] if len(named) == 1 else None


def bracketed(text, start):
    """A letter a or b at a place, perhaps in brackets, and where it ends."""
    at = start + text.startswith("(", start)
    if text[at : at + 1] not in ("a", "b", "A", "B"):
        return None
    return text[at].upper(), at + 1 + text.startswith(")", at + 1)


def mmvp_letter(output):
    text = output.strip()
    found = bracketed(text, 0)
    if found and (text[found[1] :] in ("", ".") or text[found[1]] == "." or text[found[1]].isspace()):
        return found[0]
    for words in (("answer", "is"), ("option",)):
        for start in range(len(text)):
            rest = text.lower()[start:]
            for word in words:
                rest = behind(rest, word) if rest is not None else None
            if rest and bracketed(rest, 0):
                return bracketed(rest, 0)[0]
    for start in range(len(text)):
        found = bracketed(text, start)
        if found and (found[1] == len(text) or text[found[1]].isspace()):
            return found[0]
    return text[0].upper() if text[:1] and text[0] in "abAB" else None


def vstar_letter(output):
    text = output.strip().upper()
    if text[:1] and text[0] in "ABCD":
        return text[0]
    for start in range(len(text)):
        for word in ("ANSWER", "CHOICE", "OPTION"):
            if not text.startswith(word, start):
                continue
            rest = text[start + len(word) :]
            blank = rest.lstrip()
            for one in ([blank[2:]] if blank != rest and blank.startswith("IS") else []) + [rest]:
                letter = one
                while letter and (letter[0].isspace() or letter[0] == ":"):
                    letter = letter[1:]
                if letter != one and letter[:1] and letter[0] in "ABCD":
                    return letter[0]
    places = [i for i, c in enumerate(text) if c in "ABCD"]
    tests = (
        lambda i: text[i - 1 : i] == "(" and text[i + 1 : i + 2] == ")",
        lambda i: text[i + 1 :].lstrip()[:1] in (".", ")", "]"),
        lambda i: (i == 0 or text[i - 1].isspace()) and (i + 1 == len(text) or text[i + 1].isspace()),
        lambda i: len(places) == 1,
    )
    return next((text[i] for test in tests for i in places if test(i)), None)


def narrow(text):
    return "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else " " if c == "\u3000" else c for c in text)


def ocr_right(doc, output, profile):
    formula = doc["dataset"] == "HME100k" if profile != "vlmevalkit" else doc["category"].startswith("Handwritten Math")
    answers = doc["answer"] if isinstance(doc["answer"], list) else ast.literal_eval(doc["answer"])
    if formula:
        said = output.lower() if profile == "paper" else output
        return any("".join(a.strip().replace("\n", " ").split(" ")) in "".join(said.strip().replace("\n", " ").split(" ")) for a in answers)

    def plain(text):
        return (narrow(text) if profile == "current" else text).lower().strip().replace("\n", " ")

    return any(plain(answer) in plain(output) for answer in answers)


def reading(benchmark, doc, output, profile):
    options = {letter: doc[letter] for letter in "ABCDE" if letter in doc}
    if profile == "vlmevalkit" and options:
        letter = choice(output, options, newest=True)
        return letter, float(letter == doc["answer"]), letter is None
    if benchmark.startswith("hrbench"):
        letter = choice(output.strip(), options, newest=False)
        return letter, float(letter == doc["answer"]), letter is None
    if benchmark == "mmvp":
        letter = mmvp_letter(output)
        return letter, float(letter is not None and f"({letter.lower()})" == doc["Correct Answer"]), False
    if benchmark == "vstar":
        letter = vstar_letter(output)
        return letter, float(letter == doc["label"]), False
    if benchmark == "ocrbench":
        return None, float(ocr_right(doc, output, profile)), False
    if benchmark == "countbenchqa":
        right = str(doc["number"]) == output.strip() if profile == "current" else str(doc["answer"]) in output
        return None, float(right), False
    raise ValueError(benchmark)
