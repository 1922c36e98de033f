"""Attention in a notebook: pick a layer, a head and a token, hover over the picture or the text, two schemes side by side.

    ropescope.widget.show("attention.h5")                  # pip install anywidget

Everything comes from a result file of `ropescope attention`; no model runs, and nothing is fetched.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from ropescope.errors import InputError
from ropescope.results import Result

_HERE = Path(__file__).parent
_KINDS = {1: "picture", 2: "high resolution", 4: "clip"}  # values of modality


class AttentionWidget(anywidget.AnyWidget):
    """The view; made by `show`. `layer`, `head` (-1: the mean over those of the file), `query`, `left` and `right` may be set."""

    _esm = _HERE / "widget.js"
    _css = _HERE / "widget.css"

    schemes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layers = traitlets.List(traitlets.Int()).tag(sync=True)
    heads = traitlets.List(traitlets.Int()).tag(sync=True)
    queries = traitlets.List(traitlets.Int()).tag(sync=True)  # token indices
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)  # of every token
    modality = traitlets.List(traitlets.Int()).tag(sync=True)
    parts = traitlets.List().tag(sync=True)  # {name, block, rows, columns, token, row, column}: what is drawn as a grid
    pictures = traitlets.List().tag(sync=True)  # {block, width, height, rgb}

    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Int(-1).tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    query = traitlets.Int(0).tag(sync=True)  # a token index
    maps = traitlets.Bytes().tag(sync=True)  # float32 [2, tokens]: attention under left and right

    def __init__(self, result: Result, *, input: int = 0, words: Sequence[str] | None = None):
        self._result = result
        self._number = input
        state = _state_of(result, input, words)
        super().__init__(**state)
        self.observe(lambda _change: self._look(), ["left", "right", "layer", "head", "query"])
        self._look()

    def attention(self, scheme: str) -> np.ndarray:
        """What the chosen token gives every token under a scheme, float32 [tokens]; sums to 1 over the keys in view."""
        group = _group(scheme, self._number)
        rows = self._result.part(f"{group}/rows")  # [layers, heads, queries, keys]
        query = _place(self.queries, self.query, "query")
        layers = range(len(self.layers)) if self.layer < 0 else [_place(self.layers, self.layer, "layer")]
        heads = slice(None) if self.head < 0 else slice(_place(self.heads, self.head, "head"), None)
        chosen = np.stack([rows[layer, :, query] for layer in layers])[:, heads]
        if self.head >= 0:
            chosen = chosen[:, :1]
        values = np.zeros(len(self.words), np.float32)
        values[self._result[f"{group}/key_index"]] = chosen.mean((0, 1), dtype=np.float64)
        return values

    def _look(self) -> None:
        self.maps = np.stack([self.attention(self.left), self.attention(self.right)]).astype("<f4").tobytes()


def show(result: Result | str | PathLike[str], *, input: int = 0, words: Sequence[str] | Callable[[list[int]], Sequence[str]] | None = None) -> AttentionWidget:
    """A widget of a result file of `ropescope attention` with rows (its default).

    input: which of the file's inputs. words: what the tokens say, or what makes it of their ids, such as a tokenizer's
    convert_ids_to_tokens; their ids unless given. Raises InputError for a file without rows of attention.
    """
    opened = result if isinstance(result, Result) else Result(result)
    if callable(words):
        words = list(words(_input(opened, input, "input_ids").tolist()))
    return AttentionWidget(opened, input=input, words=words)


def _place(known: Sequence[int], wanted: int, what: str) -> int:
    if wanted not in known:
        raise InputError(f"{what}: expected one of {', '.join(map(str, known))}, found {wanted}")
    return list(known).index(wanted)


def _group(scheme: str, number: int) -> str:
    """Where the rows of an input lie: those of the first in the scheme's own group."""
    return f"/attention/{scheme}" + (f"/input-{number}" if number else "")


def _input(result: Result, number: int, name: str) -> np.ndarray:
    path = f"/attention/inputs/{number}/{name}"
    if path not in result:
        raise InputError(f"{result.path}: expected {path} of a file of ropescope attention, found none")
    return result[path]


def _state_of(result: Result, number: int, words: Sequence[str] | None) -> dict[str, Any]:
    schemes = [name for name in result.names("/attention") if f"/attention/{name}/rows" in result]
    if not schemes:
        raise InputError(f"{result.path}: expected /attention/<scheme>/rows, found none. Try: ropescope attention without --keep numbers")
    modality, row, column = (_input(result, number, name) for name in ("modality", "row", "column"))
    block, raster = (_input(result, number, name) for name in ("block", "raster"))
    ids = _input(result, number, "input_ids")
    shown = [str(one) for one in ids] if words is None else [str(word) for word in words]
    if len(shown) != len(ids):
        raise InputError(f"words: expected those of {len(ids)} tokens, found {len(shown)}")
    parts = []
    for one in sorted({int(b) for b in block if b >= 0}):
        for kind, name in _KINDS.items():
            own = np.flatnonzero((block == one) & (modality == kind))
            # The frames of a clip are grids of their own, the tiles of a picture make up one.
            for of in [own] if kind != 4 else [own[raster[own] == number] for number in sorted(set(raster[own].tolist()))]:
                if len(of) == 0:
                    continue
                frame = f", frame {len([p for p in parts if p['block'] == one])}" if kind == 4 else ""
                parts.append({
                    "name": f"{name} {one}{frame}" if block.max() > 0 or frame else name,
                    "block": one, "rows": int(row[of].max()) + 1, "columns": int(column[of].max()) + 1,
                    "token": of.tolist(), "row": row[of].tolist(), "column": column[of].tolist(),
                })  # fmt: skip
    if any(part["name"].startswith("high resolution") for part in parts):
        for part in parts:
            part["name"] = part["name"].replace("picture", "thumbnail")
    pictures = []
    group = f"/attention/inputs/{number}"
    for one in sorted(int(name.removeprefix("picture-")) for name in result.names(group) if name.startswith("picture-")):
        rgb = result[f"{group}/picture-{one}"]
        pictures.append({"block": one, "width": rgb.shape[1], "height": rgb.shape[0], "rgb": rgb.tobytes()})
    first = _group(schemes[0], number)
    queries = result[f"{first}/query_index"].tolist()
    return {
        "schemes": schemes, "left": schemes[0], "right": schemes[min(1, len(schemes) - 1)],
        "layers": result[f"{first}/layer_index"].tolist(), "heads": result[f"{first}/head_index"].tolist(),
        "queries": queries, "query": queries[-1], "words": shown, "modality": modality.tolist(), "parts": parts, "pictures": pictures,
    }  # fmt: skip
