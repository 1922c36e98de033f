"""Prompts of models: from ids and a processor's tensors to where pictures stand."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ropescope import _core
from ropescope._arrays import numpy_of, rows, whole
from ropescope.errors import UsageError

WHOLE = ("image_grid_thw", "video_grid_thw", "image_sizes", "batch_num_images")
REAL = ("second_per_grid_ts", "pixel_values")


def place(folder: "_core.ModelFolder", scheme: str, input_ids: Any, attention_mask: Any, processor: Mapping[str, Any]) -> "_core.PlacedPrompt":
    """The prompt under a scheme. `processor`: the tensors of WHOLE and REAL that are there; None counts as not there."""
    given = {name: value for name, value in processor.items() if value is not None}
    for name in given:
        if name not in WHOLE + REAL:
            raise UsageError(f"{name}: expected one of {', '.join(WHOLE + REAL)}")
    mask = None if attention_mask is None else rows(attention_mask, "attention_mask")
    return _core.PlacedPrompt(
        folder,
        scheme,
        rows(input_ids, "input_ids"),
        mask,
        {name: whole(given[name], name) for name in WHOLE if name in given},
        {name: np.ascontiguousarray(numpy_of(given[name], name), dtype=np.float32) for name in REAL if name in given},
    )
