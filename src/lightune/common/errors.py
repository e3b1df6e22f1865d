"""Errors meant for people: printed without a traceback, at most five lines, exit code 1."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """What went wrong, what was expected, and how to fix it; printed without a traceback."""


class NotFiniteError(UserError):
    """A loss or a weight was infinite or not a number."""


class PrunedError(Exception):
    """A sweep has stopped this trial at a value of the metric, because others do better; not a failure."""

    def __init__(self, value: float) -> None:
        super().__init__(f"pruned at {value}")
        self.value = value


@contextmanager
def about(what: object) -> Iterator[None]:
    """Begin the message of an error about rows with their file or data set."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def not_finite(what: str, *, optimizers: Sequence[Any]) -> NotFiniteError:
    """Return the error that ends the run; it suggests a third of the first optimizer's rate, if there is an optimizer."""
    if not optimizers:
        return NotFiniteError(f"{what}\nSome weights, or what the model computes from them, are infinite or NaN.")
    return NotFiniteError(
        f"{what}\nThe run has ended; its best checkpoint is unchanged. A lower learning rate often helps:\n"
        f"optimizer.lr={optimizers[0].param_groups[0]['lr'] / 3:.1g}, or a longer scheduler.warmup_ratio, or trainer.precision=32-true"
    )


def listed(options: Iterable[object], limit: int = 8) -> str:
    """Return ``a, b, c``, or ``a, b, … (12 more)`` beyond the limit."""
    names = [str(option) for option in options]
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f", … ({more} more)" if more > 0 else "")


def did_you_mean(name: object, options: Iterable[object]) -> str:
    """Return ``Did you mean 'bert'? `` with the closest valid names; an empty string where none is close."""
    close = get_close_matches(str(name), [str(option) for option in options], n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""


def nearest(name: object, options: Iterable[object]) -> str:
    """Return the closest valid names, then all of them: ``Did you mean 'bert'? Available: …``."""
    names = list(options)
    return f"{did_you_mean(name, names)}Available: {listed(names)}."


def cannot_write(error: OSError) -> UserError:
    """Return the error of a run's or a sweep's folder that cannot be written."""
    return UserError(
        f"Cannot write the run's folder: {error.filename or 'its files'}: {error.strerror}.\n"
        "Name a folder that can be written: hydra.run.dir=DIR, or hydra.sweep.dir=DIR for a sweep"
    )
