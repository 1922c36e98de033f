"""What ropescope raises: each error is one sentence that names what was expected, what was found, and the way out."""


class Error(Exception):
    """Base of all of them; `exit_code` is that of the executable."""

    exit_code = 1


class UsageError(Error, ValueError):
    """An argument is wrong."""

    exit_code = 2


class InputError(Error, ValueError):
    """What a file or an array holds is wrong."""

    exit_code = 3


class EnvironmentError(Error):  # noqa: A001  (the executable's word; never imported with *)
    """The machine lacks something: a device, memory, disk space, a program."""

    exit_code = 4


class NumericsError(Error):
    """A computation gave numbers that are not finite."""

    exit_code = 5


def of_exit_code(code: int, sentence: str) -> Error:
    """The error that the executable ends with `code` for."""
    for kind in (UsageError, InputError, EnvironmentError, NumericsError):
        if kind.exit_code == code:
            return kind(sentence)
    return Error(sentence)
