"""Walk through a configuration, as plain dicts and lists."""

from collections.abc import Iterator
from typing import Any


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each option with its full name, such as ``data.path``; a list is one value."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is neither a dict nor a list, with its full name; items of lists are named by index."""
    if not isinstance(node, dict | list):
        yield name, node
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from leaves(value, f"{name}.{key}" if name else str(key))


def target_nodes(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each node that has a ``_target_``, with its full name."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield name, node
        for key, value in node.items():
            yield from target_nodes(value, f"{name}.{key}" if name else str(key))


def select(node: Any, name: str, *, default: Any = None) -> Any:
    """Return the value that a full name leads to."""
    for key in name.split("."):
        node = node.get(key, default) if isinstance(node, dict) else default
    return node
