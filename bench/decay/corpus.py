"""Texts for the benchmark: whole entries of the FOLDOC dictionary (dictd form), spread evenly over it."""

import gzip
import json

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def dictd_number(text):
    value = 0
    for digit in text:
        value = value * 64 + DIGITS.index(digit)
    return value


def dictd_entries(stem):
    """All entries of <stem>.dict.dz by offset, each once, without the database's own headers."""
    with gzip.open(f"{stem}.dict.dz") as file:
        data = file.read()
    spans = set()
    with open(f"{stem}.index", encoding="utf-8") as lines:
        for line in lines:
            word, offset, size = line.rstrip("\n").split("\t")
            if not word.startswith("00-database"):
                spans.add((dictd_number(offset), dictd_number(size)))
    return [data[offset : offset + size].decode("utf-8") for offset, size in sorted(spans)]


def write_texts(stem, count, path, min_characters=400):
    """`count` entries that are surely longer than 32 tokens, as JSON lines."""
    entries = [text for text in dictd_entries(stem) if len(text) >= min_characters]
    chosen = [entries[i * len(entries) // count] for i in range(count)]
    with open(path, "w", encoding="utf-8") as file:
        for text in chosen:
            file.write(json.dumps({"text": text}) + "\n")
