"""What the module's tests share: the repository, golden data, and the executable that the module is compared with."""

import json
import subprocess
import unittest
from pathlib import Path

import numpy as np

from ropescope.command import executable

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


def printed(*words):
    """stdout of the executable, run as a user runs it."""
    done = subprocess.run([executable(), *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{words}: {done.stderr}")
    return done.stdout


def golden_layouts():
    """name -> list of segments."""
    with open(GOLDEN / "positions/layouts.json", encoding="utf-8") as file:
        return {layout["name"]: layout["segments"] for layout in json.load(file)["layouts"]}


def golden_records():
    """(scheme's text, layout's name, record) of every record that public code or its closed form gave."""
    names = {"mrope_section": "sections", "temporal_stride_lst": "temporal_stride"}
    for path in sorted((GOLDEN / "positions/schemes").glob("*.json")):
        golden = json.loads(path.read_text(encoding="utf-8"))
        for variant in golden.get("variants", []):
            settings = [
                f"{names.get(key, key)}={_setting(value)}" for key, value in variant["params"].items() if key != "num_key_value_heads"
            ]
            text = golden["scheme"] + (":" + ",".join(settings) if settings else "")
            for layout, record in variant["layouts"].items():
                yield text, layout, record


def _setting(value):
    if isinstance(value, bool):
        return str(value).lower()
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


class Case(unittest.TestCase):
    def same_bits(self, found, expected):
        found, expected = np.asarray(found), np.asarray(expected)
        self.assertEqual(found.shape, expected.shape)
        self.assertEqual(found.dtype, expected.dtype)
        self.assertEqual(found.tobytes(), expected.tobytes())

    def sentence(self, kind, call, *parts):
        """The one sentence of an error, which names these parts."""
        with self.assertRaises(kind) as caught:
            call()
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        for part in parts:
            self.assertIn(part, text)
        return text
