"""Errors meant for people: printed without a traceback, at most five lines, exit code 1."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """What went wrong, what was expected, and how to fix it. Entry points print it as it is."""


class NotFiniteError(UserError):
    """A loss was infinite or not a number."""


class PrunedError(Exception):
    """A sweep has stopped this trial: others were better by now. No failure.

    Args:
        value: what was measured last.
    """

    def __init__(self, value: float) -> None:
        super().__init__(f"pruned at {value}")
        self.value = value


@contextmanager
def about(what: object) -> Iterator[None]:
    """Put before what is said of rows the file or data set that they are of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def listed(options: Iterable[object], limit: int = 8) -> str:
    """``a, b, c`` with the rest counted: ``a, b, … (12 more)``."""
    names = [str(option) for option in options]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f", … ({rest} more)" if rest > 0 else "")


def did_you_mean(name: object, options: Iterable[object]) -> str:
    """Return ``Did you mean 'bert'? `` with the closest valid names, or nothing where none is close."""
    close = get_close_matches(str(name), [str(option) for option in options], n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""


def nearest(name: object, options: Iterable[object]) -> str:
    """Return the closest valid names and all there are: ``Did you mean 'bert'? Available: …``."""
    names = list(options)
    return f"{did_you_mean(name, names)}Available: {listed(names)}."


def cannot_write(error: OSError) -> UserError:
    """Return what is said where a run's or a sweep's folder cannot be made."""
    return UserError(
        f"Cannot write the run's folder: {error.filename or 'its files'}: {error.strerror}.\n"
        "Name a folder that can be written: hydra.run.dir=DIR, or of a sweep hydra.sweep.dir=DIR"
    )
