"""Where tokens sit under a position encoding, how its channels turn, and which criteria it meets.

A scheme is its text, as `ropescope positions --list` and `schemes()` name them: "vanilla", "id-align", "mrope:sections=16/24/24".
A layout is its text, "text:35,anyres:24x24+48x48,text:20", or the same as a list of segments,
[{"text": 35}, {"anyres": {"h0": 24, "w0": 24, "h1": 48, "w1": 48, "newline": True}}, {"text": 20}].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from ropescope import _core
from ropescope._arrays import numpy_of, without_needless_fractions
from ropescope.command import run
from ropescope.errors import UsageError
from ropescope.prompts import place

Layout = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]


@dataclass(frozen=True)
class Positions:
    """Where the tokens of a layout sit. T tokens."""

    rows: list[str]
    """What the rows of the coordinates are called: "id"; t, h, w; ..."""
    coordinates: np.ndarray
    """float64 [axes, T], ids; may repeat and be fractional."""
    modality: np.ndarray
    """uint8 [T]: 0 text, 1 picture or thumbnail, 2 high resolution, 3 newline, 4 video."""
    raster: np.ndarray
    """int32 [T]: which grid of the layout a visual token belongs to, from 0; -1: text."""
    next: float
    """The id of the first generated token."""
    generated: np.ndarray | None = None
    """float64 [axes, generated]: ids of generated tokens, where some were asked for."""
    anchors: np.ndarray | None = None
    """DIPE: float64 [axes, T], ids of queries against keys of the other modality."""
    next_anchor: float | None = None
    """DIPE: the anchored id of all generated tokens."""


@dataclass(frozen=True)
class RotaryTables:
    """How channels turn: channel i by inv_freq[i] * sum over rows a of weights[.., i, a] * coordinate[a]."""

    cos: np.ndarray
    """float32 [batch, key/value heads or 1, tokens, rotary dimension/2]; attention_scale is inside, as in sin."""
    sin: np.ndarray
    inv_freq: np.ndarray
    """float64 [rotary dimension/2], radians an id."""
    weights: np.ndarray
    """float64 [key/value heads or 1, rotary dimension/2, axes]."""
    attention_scale: float
    head_dim: int
    axis: np.ndarray | None = None
    """int64 [key/value heads or 1, rotary dimension/2]: the row that turns a channel, -1 none; None where channels follow several."""


def layout_text(layout: Layout) -> str:
    """A layout in its canonical text. Raises UsageError, InputError."""
    if isinstance(layout, str):
        return _core.canonical_layout(layout, False)
    if isinstance(layout, Sequence) or isinstance(layout, Mapping):
        return _core.canonical_layout(json.dumps(layout), True)
    raise UsageError(f"layout: expected a text like text:5,image:4x6,text:7 or a list of segments, found {type(layout).__name__}")


def positions(scheme: str, layout: Layout, *, layer: int | None = None, layers: int = 0, generated: int = 0) -> Positions:
    """Where every token of a layout sits: `ropescope positions --scheme S --layout L`.

    `layer` of `layers`: for schemes that depend on it (PyPE). `generated`: also the ids of so many tokens that follow.
    Raises UsageError where the scheme or the layout cannot be read, or the scheme is undefined for a block.
    """
    return Positions(**_core.positions(scheme, layout_text(layout), layer, layers, generated))


def position_ids(
    scheme: str,
    layout: Layout | None = None,
    *,
    input_ids: Any = None,
    model: "str | PathLike[str] | _core.ModelFolder | None" = None,
    attention_mask: Any = None,
    generated: int = 0,
    **processor: Any,
) -> np.ndarray:
    """Position ids [axes, batch, length] as transformers' models take them (of one row: ids[0]).

    Either of a layout (batch 1), or of a prompt: `input_ids` [batch, length] with placeholders expanded, `model` a folder with
    config.json and the processor's settings (no weight is read; `ropescope._core.ModelFolder(folder)` reads it once for many
    prompts), `attention_mask` [batch, length] with 0 for padding, and what the processor gave: image_grid_thw, video_grid_thw,
    second_per_grid_ts (Qwen, GLM), image_sizes (LLaVA-NeXT), pixel_values (families that give tiles alone). Padding has id 0.
    `generated`: ids of so many further tokens at the end of each row.
    int64 where all ids are whole numbers, else float64. Raises UsageError, InputError.

    Source of each scheme: `schemes()`, docs/schemes.md.
    """
    if (layout is None) == (input_ids is None):
        raise UsageError("position_ids: expected one of layout and input_ids")
    if generated < 0:
        raise UsageError(f"generated: expected a number of tokens, found {generated}")
    if layout is not None:
        if model is not None or attention_mask is not None or processor:
            raise UsageError("position_ids: expected a layout alone; model, attention_mask and grids belong to input_ids")
        found = positions(scheme, layout, generated=generated)
        ids = found.coordinates if generated == 0 else np.concatenate([found.coordinates, found.generated], 1)
        return without_needless_fractions(ids[:, None])
    if model is None:
        raise UsageError("position_ids: expected model, a folder with config.json, which says where pictures stand in input_ids")
    folder = model if isinstance(model, _core.ModelFolder) else _core.ModelFolder(str(model))
    prompt = place(folder, scheme, input_ids, attention_mask, processor)
    return without_needless_fractions(prompt.position_ids(0, prompt.columns + generated))


def rotary_tables(
    scheme: str,
    layout: Layout | None = None,
    *,
    ids: Any = None,
    head_dim: int | None = None,
    kv_heads: int | None = None,
    rope_theta: float | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    context: int = 0,
) -> RotaryTables:
    """cos and sin of a layout or of given position ids [axes, batch, tokens]: /rotary of `ropescope positions --output`.

    Angles are computed in float64. `head_dim`: channels of a head (128, or what the scheme's sections ask for); `kv_heads`: for
    schemes whose heads differ; `rope_theta`: base (1e4); `rope_scaling`: as in a config.json; `context`: trained length, tokens.
    Raises UsageError where sections do not fit the head, InputError for impossible settings and ids that are not finite.
    """
    if (layout is None) == (ids is None):
        raise UsageError("rotary_tables: expected one of layout and ids")
    if layout is not None:
        coordinates = positions(scheme, layout).coordinates[:, None]
    else:
        coordinates = numpy_of(ids, "ids").astype(np.float64)
    scaling = None if rope_scaling is None else json.dumps(rope_scaling)
    return RotaryTables(
        **_core.rotary_tables(scheme, np.ascontiguousarray(coordinates), head_dim, kv_heads, rope_theta, scaling, context)
    )


def criteria(
    scheme: str,
    layout: Layout,
    *,
    head_dim: int | None = None,
    kv_heads: int | None = None,
    rope_theta: float | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    context: int = 0,
) -> dict[str, Any]:
    """The criteria of arXiv 2510.23095 as numbers, and PTD (arXiv 2505.16416): `positions --criteria --json`, field for field.

    Arguments as rotary_tables has them. Raises UsageError.
    """
    scaling = None if rope_scaling is None else json.dumps(rope_scaling)
    return json.loads(_core.criteria(scheme, layout_text(layout), head_dim, kv_heads, rope_theta, scaling, context))


def misalignment(scheme: str, layout: Layout) -> dict[str, Any]:
    """High-resolution tokens on wrong thumbnail ids (arXiv 2505.21465), as `positions --misalignment --json` has them.

    `distances`: ids between thumbnail, high resolution and text. Raises UsageError.
    """
    return json.loads(_core.misalignment(scheme, layout_text(layout)))


def budget(scheme: str, layout: Layout, *, context: int = 0) -> dict[str, Any]:
    """What a layout costs in ids: `budget` of `positions --json`. `context`: trained length, tokens; 0: not said."""
    return json.loads(_core.budget(scheme, layout_text(layout), context))


def schemes() -> list[dict[str, Any]]:
    """Every position encoding with its parameters, their defaults, and its source: `positions --list --json`."""
    return json.loads(run("positions", list=True, json=True).stdout)["schemes"]
