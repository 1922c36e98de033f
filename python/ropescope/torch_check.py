"""LibTorch's C++ interface changes from version to version: the libraries have to be those that the module was built with."""

import importlib
import importlib.metadata

from ropescope._built import TORCH


def load() -> None:
    """Loads the extension. Raises ImportError in one sentence where torch is missing or of another version than the build's."""
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        found = None  # a LibTorch without a package may be where the build had it
    if found is not None and _release(found) != _release(TORCH):
        raise ImportError(
            f"ropescope: expected torch {TORCH}, with which it was built, found torch {found}. "
            f"Try: pip install --force-reinstall --no-deps . in ropescope's clone, which builds it for this one, or pip install torch=={TORCH}"
        )
    try:
        importlib.import_module("ropescope._core")
    except ImportError as error:
        raise explained(error) from None


def explained(error: ImportError) -> ImportError:
    """What a missing LibTorch makes of an import, as a sentence; anything else as it is."""
    if not any(library in str(error) for library in ("libtorch", "libc10")):
        return error
    return ImportError(f"ropescope: expected torch {TORCH}, with which it was built, found none ({error}). Try: pip install torch=={TORCH}")


def _release(version: str) -> list[str]:
    """"2.15.0+cu130" -> ["2", "15"]: what is fixed in between changes no interface."""
    return version.split("+")[0].split(".")[:2]
