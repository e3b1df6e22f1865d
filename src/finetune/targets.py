"""Which ``_target_`` of a configuration may run. Hydra calls whatever it is given, and configurations travel."""

import importlib
import os
from collections.abc import Iterator
from typing import Any

from finetune.errors import UserError

VARIABLE = "FINETUNE_ALLOWED_TARGETS"
LIBRARIES = {
    "lightning.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.loggers.MLFlowLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.strategies.FSDPStrategy",
    "torch.optim.AdamW",
}
"""What the shipped configurations name outside this package."""


def check_targets(cfg: dict[str, Any]) -> None:
    """Refuse a configuration that would call anything but this package, ``LIBRARIES`` and what the user allows.

    The user allows by an environment variable, not by an option: a configuration must not vouch for itself.

    Raises:
        UserError: names the node and how to allow it. Nothing has been called.
    """
    allowed = tuple(name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip())
    # our own come last: to look at them imports torch
    for where, target in sorted(_targets(cfg, ""), key=lambda found: found[1].startswith("finetune.")):
        by_user = any(target == name or target.startswith(name.rstrip(".") + ".") for name in allowed)
        if target not in LIBRARIES and not by_user and not _is_ours(target):
            raise UserError(
                f"{where}={target} is refused: a configuration may call finetune's own classes and those that conf/ names.\n"
                "Nothing was run. If you know the code and want it, allow it, or the package that holds it, by name:\n"
                f"{VARIABLE}={target} python train.py …"
            )


def _targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        name = f"{where}.{key}" if where else str(key)
        if key == "_target_":
            yield name, str(value)
        else:
            yield from _targets(value, name)


def _is_ours(target: str) -> bool:
    """Say whether a name is defined in this package, and not one that a module of it has imported."""
    module, _, name = target.rpartition(".")
    if not module.startswith("finetune."):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return str(getattr(found, "__module__", "")).startswith("finetune.")
