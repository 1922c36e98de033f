#!/usr/bin/env python3
"""Makes the two real vocabularies of tests/golden/language/tokenizers that ship in PyPI packages:

    real_tokenizers.py OUT            downloads dashscope (1.5 MB) and mistral-common (6.5 MB) with pip, then
    OUT/qwen2/tokenizer.json          151387 merges recovered from the 151643 ranks of qwen.tiktoken, 22 added tokens
    OUT/sp_mistral_v1/tokenizer.model

The tests look for OUT in the environment variable ROPESCOPE_TOKENIZERS. Needs nothing beyond Python and pip.
"""
import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGES = ["dashscope==1.25.24", "mistral-common==1.8.8"]
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden/language/tokenizers/qwen2.json"


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    itself = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in itself]
    return {b: chr(b) for b in itself} | {b: chr(256 + n) for n, b in enumerate(others)}


def merge_of(token, ranks):
    """The two parts that byte-pair merging limited to lower ranks leaves of `token`."""
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(parts[i] + parts[i + 1], limit), i) for i in range(len(parts) - 1)]
        rank, i = min(pairs)
        if rank >= limit:
            raise SystemExit(f"token {limit} cannot be made by merges")
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def qwen2_tokenizer(tiktoken_text, golden):
    ranks = {}
    for line in tiktoken_text.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    alphabet = byte_alphabet()
    text = lambda token: "".join(alphabet[b] for b in token)
    merges = [[text(p) for p in merge_of(t, ranks)] for t in sorted(ranks, key=ranks.get) if len(t) > 1]
    added = [
        {"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": c not in golden["not_special"]}
        for c, i in golden["added_tokens"].items()
    ]
    split = {"type": "Split", "pattern": {"Regex": golden["pre_tokenizer"]}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {text(t): r for t, r in ranks.items()}, "merges": merges},
    }


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, *PACKAGES],
                       check=True)
        wheels = {w.name.split("-")[0]: zipfile.ZipFile(w) for w in pathlib.Path(folder).glob("*.whl")}
        ranks = wheels["dashscope"].read("dashscope/resources/qwen.tiktoken").decode()
        model = wheels["mistral_common"].read("mistral_common/data/tokenizer.model.v1")
    qwen2 = qwen2_tokenizer(ranks, json.loads(GOLDEN.read_text()))
    for name in ("qwen2", "sp_mistral_v1"):
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "qwen2/tokenizer.json").write_text(json.dumps(qwen2, ensure_ascii=False), encoding="utf-8")
    (out / "sp_mistral_v1/tokenizer.model").write_bytes(model)


main()
