"""Refuse options that nothing reads: a misspelt one would be ignored in silence."""

import re
from collections.abc import Sequence
from typing import Any

from lightune.common.errors import UserError, nearest
from lightune.config.arguments import signature_of
from lightune.config.nested import flat, leaves, select, target_nodes
from lightune.config.options import FRAME, NOT_FROM_DATA, readers_of_data

MISSING = object()
REFERENCES = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")


def check_unread(raw: dict[str, Any], *, added: Sequence[str]) -> None:
    """Raise a UserError for options that nothing reads, with those that are like them.

    ``raw`` is the configuration, not yet resolved; ``added`` are the options that the command line adds with ``+``:
    Hydra itself refuses unknown ones without it.
    """
    references = {name.rstrip(".") for _, value in leaves(raw) for name in REFERENCES.findall(str(value))}
    read = {name for target in readers_of_data(raw) for name in signature_of(target)[0] or ()} - NOT_FROM_DATA
    # a data set for another task, as in further pretraining, may name columns that this task does not read
    if raw["data"].get("task") in (None, raw["task_name"]):
        for name in raw["data"]:
            if name not in {*read, "task"} and not _is_referenced(f"data.{name}", references):
                raise UserError(f"There is no option 'data.{name}'. {nearest(name, sorted(read))}")
    # an option that is added may be taken out again, as resume does with ~callbacks.NAME
    for option in (option for option in added if select(raw, option, default=MISSING) is not MISSING):
        if not option.startswith("data.") and not _is_read(option, raw, references):
            options = sorted(name for name, _ in flat(raw) if name not in added)
            raise UserError(f"Nothing reads the option {option!r}. {nearest(option, options)}")


def _is_read(option: str, raw: dict[str, Any], references: set[str]) -> bool:
    """Return whether an option is in the frame, is referenced, or belongs to a node that is instantiated."""
    keys = option.split(".")
    nodes = [select(raw, ".".join(keys[:end])) for end in range(1, len(keys) + 1)]
    is_argument = any(isinstance(node, dict) and "_target_" in node for node in nodes)
    is_instantiated = any(target_nodes(nodes[-1]))
    return option in FRAME or is_argument or is_instantiated or _is_referenced(option, references)


def _is_referenced(option: str, references: set[str]) -> bool:
    return any(f"{option}.".startswith(f"{name}.") or name.startswith(f"{option}.") for name in references)
