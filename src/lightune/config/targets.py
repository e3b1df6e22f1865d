"""What a configuration may call. Hydra calls whatever it is given, and configurations travel."""

import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

from lightune.common.errors import UserError

VARIABLE = "LIGHTUNE_ALLOWED_TARGETS"
LIBRARIES = {
    "lightning.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.loggers.MLFlowLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger",
    "torch.optim.AdamW",
}
"""What the shipped configurations name outside this package."""

LOGGING = {"logging.FileHandler", "logging.StreamHandler", "ext://sys.stderr", "ext://sys.stdout"}
"""What Hydra's own logging configurations name."""

PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Where launchers and sweepers live: Hydra's own, and those that somebody has installed."""

ENTRY_POINTS = ("lightune.commands.", "lightune.config.")
"""Of our own, what does as a person at the keyboard says: not for a configuration to call."""

LOGGING_CALLS = {"()", "class", "queue", "listener"}
"""Keys under which ``logging.config.dictConfig`` looks for something to import and call."""

PLAIN = re.compile(r"\$\{(?:hydra[.:][\w.]+|oc\.env:[^${}]*|now:[^${}]*)\}")
"""Interpolations that give a text and can give nothing else, whenever they are resolved."""


def check_targets(cfg: dict[str, Any]) -> None:
    """Refuse a configuration that would call anything but this package, ``LIBRARIES`` and what the user allows.

    The user allows by an environment variable, not by an option: a configuration must not vouch for itself.

    Raises:
        UserError: names the node and how to allow it. Nothing has been called.
    """
    # our own come last: to look at them imports torch
    for where, target in sorted(_targets(cfg, ""), key=lambda found: found[1].startswith("lightune.")):
        if target not in LIBRARIES and not _by_user(target) and not _is_ours(target):
            raise _refused(where, target)


def check_hydra_targets(hydra: dict[str, Any]) -> None:
    """Refuse what Hydra itself would call for its ``hydra`` node, which it does before ``train`` is given anything.

    Args:
        hydra: the node, its interpolations unresolved.

    Raises:
        UserError: its callbacks, launcher, sweeper or logging name what nobody allowed. Nothing has been called.
    """
    for where, target in (*_targets(hydra, "hydra"), *_logging_targets(hydra, "hydra")):
        if target not in LOGGING and not target.startswith(PLUGINS) and not _by_user(target):
            raise _refused(where, target)
    for name in ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging"):
        for where, text in _texts(hydra.get(name), f"hydra.{name}"):
            if "${" in PLAIN.sub("", text):
                raise UserError(
                    f"{where}={text} is refused: Hydra reads it before it can be checked, and it may become a call.\n"
                    "Nothing was run. Write the value itself, or ${oc.env:NAME}."
                )


def _refused(where: str, target: str) -> UserError:
    return UserError(
        f"{where}={target} is refused: a configuration may call lightune's own classes and those that conf/ names.\n"
        "Nothing was run. If you know the code and want it, allow it, or the package that holds it, by name:\n"
        f"{VARIABLE}={target.removeprefix('ext://')} python train.py …"
    )


def _by_user(target: str) -> bool:
    allowed = [name.strip().rstrip(".") for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    name = target.removeprefix("ext://")
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def _targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        name = f"{where}.{key}" if where else str(key)
        if key == "_target_":
            yield name, str(value)
        else:
            yield from _targets(value, name)


def _logging_targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    for name, text in _texts(node, where):
        if name.rpartition(".")[2] in LOGGING_CALLS or text.startswith(("ext://", "cfg://")):
            yield name, text


def _texts(node: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield where, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from _texts(value, f"{where}.{key}")


def _is_ours(target: str) -> bool:
    """Say whether a name is defined in this package, and not one that a module of it has imported."""
    module, _, name = target.rpartition(".")
    if not module.startswith("lightune.") or target.startswith(ENTRY_POINTS) or name.startswith("_"):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return str(getattr(found, "__module__", "")).startswith("lightune.")
