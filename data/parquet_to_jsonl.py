#!/usr/bin/env python3
"""Benchmark files of the Hugging Face hub (.parquet) to what `ropescope evaluate` reads: one JSON object a line,
with the data's own columns, and the pictures as files beside it.

    pip install pyarrow
    python data/parquet_to_jsonl.py --output data/mmstar/mmstar.jsonl mmstar/val-*.parquet
    python data/parquet_to_jsonl.py --expand answer --image-size --output data/refcoco/val.jsonl val-*.parquet

Equal pictures become one file, named by its SHA-256. Rows are read in pieces: memory does not grow with the file.
--expand COLUMN   one line for each entry of a list column (RefCOCO: the expressions of a box)
--image-size      adds `image_size` [width, height], which RefCOCO's boxes in pixels need
--columns A,B     only these columns
--add NAME=TEXT   one more column, the same text in every line (MVBench: task=action_sequence; RefCOCO: split=testA); may be given again
"""
import argparse
import base64
import hashlib
import json
import math
import pathlib
import struct
import sys

KINDS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"II*\0": ".tiff", b"MM\0*": ".tiff"}


def extension(picture):
    for start, name in KINDS.items():
        if picture.startswith(start):
            return name
    return ".bin"


def jpeg_size(picture):
    at = 2
    while at + 9 < len(picture):
        marker, length = picture[at + 1], struct.unpack(">H", picture[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", picture[at + 5 : at + 9])
            return [width, height]
        at += 2 + length
    return None


def picture_size(picture):
    if picture.startswith(b"\x89PNG"):
        return list(struct.unpack(">II", picture[16:24]))
    return jpeg_size(picture) if picture.startswith(b"\xff\xd8") else None


class Converter:
    def __init__(self, output, with_size):
        self.pictures = output.parent / (output.stem + "_images")
        self.folder = output.parent
        self.with_size = with_size
        self.size = None

    def save(self, picture):
        name = self.pictures / (hashlib.sha256(picture).hexdigest() + extension(picture))
        if not name.exists():
            self.pictures.mkdir(parents=True, exist_ok=True)
            name.write_bytes(picture)
        self.size = self.size or picture_size(picture)
        return str(name.relative_to(self.folder))

    def plain(self, value):
        """Pictures become file names, everything else what JSON knows."""
        if isinstance(value, dict) and "bytes" in value and set(value) <= {"bytes", "path"}:
            return self.save(value["bytes"]) if value["bytes"] is not None else value.get("path")
        if isinstance(value, dict):
            return {key: self.plain(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.plain(entry) for entry in value]
        if isinstance(value, bytes):
            return self.save(value) if extension(value) != ".bin" else base64.b64encode(value).decode()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)

    def record(self, row):
        self.size = None
        record = {key: self.plain(value) for key, value in row.items()}
        if self.with_size and self.size:
            record["image_size"] = self.size
        return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--expand")
    parser.add_argument("--image-size", action="store_true")
    parser.add_argument("--columns")
    parser.add_argument("--add", action="append", default=[], metavar="NAME=TEXT")
    arguments = parser.parse_args()
    try:
        import pyarrow.parquet
    except ImportError:
        sys.exit("parquet_to_jsonl.py: pyarrow is missing; pip install pyarrow")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    converter = Converter(arguments.output, arguments.image_size)
    columns = arguments.columns.split(",") if arguments.columns else None
    for more in arguments.add:
        if "=" not in more:
            sys.exit(f"parquet_to_jsonl.py: --add: expected NAME=TEXT, found {more}")
    added = dict(more.split("=", 1) for more in arguments.add)
    partial = arguments.output.with_name(arguments.output.name + ".tmp")
    count = 0
    with open(partial, "w", encoding="utf-8") as out:
        for path in arguments.files:
            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=64, columns=columns):
                for row in batch.to_pylist():
                    record = converter.record(row) | added
                    entries = record.get(arguments.expand) if arguments.expand else None
                    for entry in entries if isinstance(entries, list) else [None]:
                        line = {**record, arguments.expand: entry} if isinstance(entries, list) else record
                        out.write(json.dumps(line, ensure_ascii=True) + "\n")
                        count += 1
    partial.rename(arguments.output)
    print(f"{arguments.output}: {count} records")


if __name__ == "__main__":
    main()
