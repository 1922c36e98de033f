"""Arrays of others as contiguous NumPy arrays on the CPU."""

from typing import Any

import numpy as np

from ropescope.errors import InputError


def numpy_of(array: Any, name: str) -> np.ndarray:
    """A NumPy array of `array`: NumPy's own, a list of numbers, or whatever offers DLPack (torch on any device, JAX, ...)."""
    if hasattr(array, "detach"):  # torch: leaves the graph and the device; half types have no NumPy name
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()
    if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
        array = np.from_dlpack(array)
    found = np.asarray(array)
    if found.dtype.kind not in "iufb":
        raise InputError(f"{name}: expected numbers, found {found.dtype}")
    return found


def whole(array: Any, name: str) -> np.ndarray:
    """int64, contiguous. Raises InputError for fractions."""
    found = numpy_of(array, name)
    if found.dtype.kind == "f" and not np.array_equal(found, np.trunc(found)):
        raise InputError(f"{name}: expected whole numbers, found fractions")
    return np.ascontiguousarray(found, dtype=np.int64)


def rows(array: Any, name: str) -> np.ndarray:
    """int64 [batch, tokens]; one row may come without the first axis."""
    found = whole(array, name)
    if found.ndim == 1:
        found = found[None]
    if found.ndim != 2:
        raise InputError(f"{name}: expected [tokens] or [batch, tokens], found {list(found.shape)}")
    return found


def without_needless_fractions(ids: np.ndarray) -> np.ndarray:
    """int64 where every id is a whole number, as models take them; else float64."""
    truncated = np.trunc(ids)
    return truncated.astype(np.int64) if np.array_equal(truncated, ids) else ids
