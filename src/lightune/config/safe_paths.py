"""Names that become folders and files must not lead out of their folder."""

import os
from typing import Any

from lightune.common.errors import UserError

NAMES_INSIDE = {"save_dir": ("name", "version", "sub_dir"), "dirpath": ("filename",)}
"""Arguments of loggers and callbacks that name a folder, and those that name what lies in it."""


def check_choices(choices: dict[str, Any]) -> None:
    """Raise a UserError for a choice that leaves its group by ``..`` or ``/``: it is part of the run's folder."""
    for group, choice in choices.items():
        for name in choice if isinstance(choice, list) else [choice]:
            if isinstance(name, str):
                check_inside(group, name, folder="")


def check_names(groups: dict[str, Any]) -> None:
    """Raise a UserError for loggers and callbacks that would write outside the folder that they name.

    ``groups`` are ``{group: {node: arguments}}``, all resolved.
    """
    for group, nodes in groups.items():
        for node, arguments in (nodes or {}).items():
            for key, parts in NAMES_INSIDE.items():
                if not isinstance(arguments, dict) or not arguments.get(key):
                    continue
                inside = ""
                for part in parts:
                    if arguments.get(part) is not None:
                        inside = os.path.join(inside, str(arguments[part]))  # noqa: PTH118 - an absolute part wins
                        check_inside(f"{group}.{node}.{part}", inside, folder=str(arguments[key]))


def check_inside(option: str, name: str, *, folder: str) -> None:
    """Refuse a name that would lead out of its folder.

    Raises:
        UserError: it is absolute, climbs out with ``..``, or holds a character that no file system takes.
    """
    root = os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links, which are the user's own
    path = os.path.abspath(os.path.join(folder, name))  # noqa: PTH100, PTH118
    if "\0" in name or os.path.commonpath([root, path]) != root:
        raise UserError(
            f"{option}={name!r} is refused: it leads out of {folder or 'its folder'}.\n"
            "Expected a name without .. and not starting with /. The run's own folder is hydra.run.dir=DIR."
        )
