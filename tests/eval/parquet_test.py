"""data/parquet_to_jsonl.py: what goes into a .parquet comes out as lines and picture files."""
import json
import pathlib
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

root = pathlib.Path(__file__).resolve().parents[2]
pictures = root / "tests/golden/vision/preprocess/synthetic"
png, jpg = (pictures / "gray_37x53.png").read_bytes(), (pictures / "exif_48x33.jpg").read_bytes()

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    rows = [
        {"question_id": "1", "answer": ["left dog", "dog"], "bbox": [1.0, 2.0, 3.0, 4.0], "image": {"bytes": png, "path": None}, "score": 0.5},
        {"question_id": "2", "answer": ["cat"], "bbox": [0.0, 0.0, 1.0, 1.0], "image": {"bytes": jpg, "path": "x.jpg"}, "score": float("nan")},
        {"question_id": "3", "answer": ["café"], "bbox": [0.0, 0.0, 1.0, 1.0], "image": {"bytes": png, "path": None}, "score": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    output = folder / "out" / "val.jsonl"
    subprocess.run(
        [sys.executable, root / "data/parquet_to_jsonl.py", "--expand", "answer", "--image-size", "--add", "split=testA", "--output", output, folder / "a.parquet"],
        check=True,
    )
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["answer"] for line in lines] == ["left dog", "dog", "cat", "café"], lines
    assert [line["image_size"] for line in lines] == [[37, 53], [37, 53], [48, 33], [37, 53]], lines
    assert all(line["split"] == "testA" for line in lines), lines
    assert lines[2]["score"] is None and lines[0]["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert lines[0]["image"] == lines[3]["image"] != lines[2]["image"]
    assert (output.parent / lines[0]["image"]).read_bytes() == png
    assert (output.parent / lines[2]["image"]).read_bytes() == jpg
    assert len(list((output.parent / "val_images").iterdir())) == 2
print("ok")
