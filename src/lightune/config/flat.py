"""A configuration as one level of names."""

from collections.abc import Iterator
from typing import Any


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its whole name, such as ``data.path``."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value
