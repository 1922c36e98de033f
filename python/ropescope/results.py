"""Result files: datasets as arrays, provenance as an object."""

import shutil
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

from ropescope.errors import InputError


@dataclass(frozen=True)
class InputFile:
    """A file that a run read."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """What a result was made of."""

    command: str
    """The whole command line."""
    created_utc: str
    ropescope_version: str
    ropescope_commit: str
    libtorch_version: str
    device: str
    dtype: str
    seed: int
    inputs: list[InputFile]


class Result(Mapping[str, Any]):
    """A result file. `result["/decay/mean"]` is a dataset as a NumPy array (a list of strings where it holds text).

    Datasets are read when they are asked for. `attributes`, `description`, `units` and `dimensions` say what they are.
    """

    def __init__(self, path: str | PathLike[str], folder: str | None = None):
        self.path = Path(path)
        # Of a result that was not given a name: its folder goes when it does.
        self._clean = None if folder is None else weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self._file = h5py.File(self.path, "r")
        except (OSError, RuntimeError) as error:
            if not self.path.exists():
                raise InputError(f"{self.path}: expected a result file, found none") from None
            raise InputError(f"{self.path}: expected an HDF5 file, found another form ({error})") from None
        self._names: list[str] = []
        self._file.visititems(lambda name, item: self._names.append("/" + name) if isinstance(item, h5py.Dataset) else None)

    def __getitem__(self, name: str) -> Any:
        data = self._dataset(name)
        if h5py.check_string_dtype(data.dtype) is None:
            return data[()]
        texts = data.asstr("utf-8")[()]
        return texts if isinstance(texts, str) else texts.tolist()

    def names(self, group: str) -> list[str]:
        """What lies right below a group: datasets and groups; none where there is no such group."""
        found = self._file.get(group)
        return list(found) if isinstance(found, h5py.Group) else []

    def part(self, name: str) -> h5py.Dataset:
        """A dataset that is not read yet: `result.part("/attention/vanilla/rows")[0, :, -1]` reads no more than that."""
        return self._dataset(name)

    def __contains__(self, name: object) -> bool:  # without reading it
        return isinstance(name, str) and isinstance(self._file.get(name), h5py.Dataset)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        lines = [f"{name} {list(self._file[name].shape)}" for name in self._names[:30]]
        more = [f"... and {len(self) - 30} more"] if len(self) > 30 else []
        return "\n".join([f"{self.path.name}: {len(self)} datasets", *lines, *more])

    def _dataset(self, name: str) -> h5py.Dataset:
        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            near = [known for known in self._names if known.startswith(name.rstrip("/") + "/")] or self._names
            raise KeyError(f"{self.path}: expected a dataset {name}, found none. There are {', '.join(near[:20])}")
        return found

    def attributes(self, name: str = "/") -> dict[str, Any]:
        """Attributes of a dataset or a group: `title`, `scheme`, `units`, ..."""
        if name not in self._file:
            raise KeyError(f"{self.path}: expected {name}, found none")
        return {key: value.decode() if isinstance(value, bytes) else value for key, value in self._file[name].attrs.items()}

    def description(self, name: str) -> str:
        """What a dataset holds, in a sentence; "" where the file does not say."""
        return str(self._dataset(name).attrs.get("description", ""))

    def units(self, name: str) -> str:
        return str(self._dataset(name).attrs.get("units", ""))

    def dimensions(self, name: str) -> str:
        """What its axes are."""
        return str(self._dataset(name).attrs.get("dimensions", ""))

    @property
    def provenance(self) -> Provenance:
        """Raises InputError for a file that ropescope did not write."""
        root = self.attributes("/")
        wanted = [name for name in Provenance.__dataclass_fields__ if name != "inputs"]
        missing = [name for name in wanted if name not in root]
        if missing:
            raise InputError(f"{self.path}: expected attributes {', '.join(missing)} of a file that ropescope wrote, found none")
        inputs = []
        if "/provenance/inputs/name" in self:
            columns = [self[f"/provenance/inputs/{column}"] for column in ("name", "bytes", "sha256")]
            inputs = [InputFile(name, int(size), digest) for name, size, digest in zip(*columns, strict=True)]
        values = {name: int(root[name]) if name == "seed" else str(root[name]) for name in wanted}
        return Provenance(**values, inputs=inputs)

    def close(self) -> None:
        self._file.close()
        if self._clean is not None:
            self._clean()

    def __enter__(self) -> "Result":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(path: str | PathLike[str]) -> Result:  # noqa: A001  (ropescope.open, as gzip.open)
    """A result file of any command. Raises InputError where there is none, or it is damaged."""
    return Result(path)
