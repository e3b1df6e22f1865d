"""Errors meant for people: printed without a traceback, at most five lines, exit code 1."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """What went wrong, what was expected, and how to fix it. Entry points print it as it is."""


def listed(options: Iterable[object], limit: int = 8) -> str:
    """``a, b, c`` with the rest counted: ``a, b, … (12 more)``."""
    names = [str(option) for option in options]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f", … ({rest} more)" if rest > 0 else "")


def nearest(name: object, options: Iterable[object]) -> str:
    """The closest valid names first, as a sentence: ``Did you mean 'bert'? Available: …``."""
    names = [str(option) for option in options]
    close = get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}Available: {listed(names)}."
