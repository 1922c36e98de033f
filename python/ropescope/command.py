"""The executable, which is installed beside the module."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropescope.errors import EnvironmentError, of_exit_code  # noqa: A004


def executable() -> Path:
    """The installed executable, or the one that the variable ROPESCOPE names."""
    found = Path(os.environ.get("ROPESCOPE") or Path(__file__).parent / "bin" / "ropescope")
    if not found.is_file():
        raise EnvironmentError(f"{found}: expected the executable of ropescope, found none. Try: pip install . in a clone of ropescope")
    return found


def main() -> None:
    """`ropescope` on the command line: becomes the executable."""
    path = executable()
    os.execv(path, [str(path), *sys.argv[1:]])


def flags_of(given: Mapping[str, Any]) -> list[str]:
    """max_distance=256 -> --max-distance 256. True: the flag alone. None and False: not given. Lists and arrays: joined by commas."""
    words = []
    for name, value in given.items():
        value = _plain(value)
        if value is None or value is False:
            continue
        words.append("--" + name.rstrip("_").replace("_", "-"))
        if value is True:
            continue
        if isinstance(value, (list, tuple)):
            value = ",".join(_word(one) for one in value)
        words.append(_word(value))
    return words


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy (and of whatever else lists itself) as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def _word(value: Any) -> str:
    value = _plain(value)
    return repr(value) if isinstance(value, float) else os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def run(command: str, *words: str, accept: tuple[int, ...] = (0,), **flags: Any) -> subprocess.CompletedProcess:
    """Runs `ropescope <command>` with these words and flags, and gives what it printed.

    `ropescope.run("decay", samples="s.h5", theta=[1e4, 1e6], output="d.h5")` is `ropescope decay --samples s.h5 --theta 1e4,1e6
    --output d.h5`. Names of flags are those of `ropescope help <command>`. Raises the error of its exit code, with its sentence;
    exit codes in `accept` are no error.
    """
    call = [str(executable()), command, *words, *flags_of(flags)]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in accept:
        lines = [line.removeprefix("ropescope: ") for line in done.stderr.splitlines() if line.startswith("ropescope: ")]
        raise of_exit_code(done.returncode, lines[-1] if lines else done.stderr.strip() or f"{command}: ended with {done.returncode}")
    for line in done.stderr.splitlines():
        print(line, file=sys.stderr)
    return done
