"""What a configuration may call. Hydra calls whatever it is given, and configurations travel."""

import importlib
import os
import pkgutil
import re
from typing import Any

from lightune.common.errors import UserError, about
from lightune.common.fast_imports import fast_imports
from lightune.config.hydra_internals import CORE_PLUGINS
from lightune.config.nested import leaves, select
from lightune.config.own_packages import is_own, is_within, own_packages

VARIABLE = "LIGHTUNE_ALLOWED_TARGETS"
LIBRARIES = {
    "bitsandbytes.optim.AdamW8bit",
    "lightning.Trainer",
    "lightning.pytorch.callbacks.DeviceStatsMonitor",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.callbacks.Timer",
    "lightning.pytorch.loggers.MLFlowLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger",
    "torch.optim.AdamW",
    "torch.optim.lr_scheduler.OneCycleLR",
    "torch.optim.lr_scheduler.ReduceLROnPlateau",
}
"""What the shipped configurations name outside this package, and callbacks that only watch."""

KINDS = {
    "torch.optim": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    "torch.nn.modules.loss": ("torch.nn.modules.loss._Loss",),
    "torchmetrics.classification": ("torchmetrics.Metric",),
    "torchmetrics.regression": ("torchmetrics.Metric",),
    "transformers.optimization": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
}
"""What else may be called of a library: classes that are defined in a module and inherit from one of these."""

KIND_PREFIXES = ("torch.optim.", "torch.nn.", "torchmetrics.", "transformers.optimization.")

LOGGING = {"logging.FileHandler", "logging.StreamHandler", "ext://sys.stderr", "ext://sys.stdout"}
"""What Hydra's own logging configurations name."""

PLUGINS = (CORE_PLUGINS, "hydra_plugins.")
"""Where launchers and sweepers live: Hydra's own, and those that the user installed."""

ENTRY_POINTS = ("lightune.commands.", "lightune.config.", "lightune.train.")
"""Our modules that act for the person at the keyboard: a configuration must not call them."""

CALLING_NODES = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
"""Nodes of Hydra's whose values may become calls."""

LOGGING_CALLS = {"()", "class", "queue", "listener"}
"""Keys under which ``logging.config.dictConfig`` looks for something to import and call."""

PLAIN = re.compile(r"\$\{(?:hydra[.:][\w.]+|oc\.env:[^${}]*|now:[^${}]*)\}")
"""Interpolations that can only give a text, whenever they are resolved."""


def check_targets(cfg: dict[str, Any]) -> None:
    """Refuse a configuration that would call anything but this package, ``LIBRARIES``, ``KINDS`` and what the user allows.

    The user allows by the environment, a project or what is installed: a configuration must not vouch for itself.

    Raises:
        UserError: names the node and how to allow it. Nothing has been called.
    """
    own = own_packages()
    targets = [(name, str(value)) for name, value in leaves(cfg) if "_target_" in name.split(".")]
    # those that must be looked at come last: it imports torch, and what is one's own
    prefixes = ("lightune.", *KIND_PREFIXES, *(f"{package}." for package in own))
    for name, target in sorted(targets, key=lambda pair: pair[1].startswith(prefixes)):
        if not (target in LIBRARIES or _allowed_by_user(target) or _is_ours(target) or _is_of_a_kind(target)):
            _check_own(name, target, own)


def check_hydra_targets(hydra: dict[str, Any]) -> None:
    """Refuse what Hydra itself would call for its ``hydra`` node, interpolations unresolved, before it calls ``train``.

    Raises:
        UserError: its callbacks, launcher, sweeper or logging name what nobody allowed. Nothing has been called.
    """
    own = own_packages()
    if vouching := [name for name in select(hydra, "job.env_set") or {} if name.startswith("LIGHTUNE_")]:
        raise UserError(f"hydra.job.env_set.{vouching[0]} is refused: set it in the environment. Nothing was run.")
    for name, value in leaves(hydra, "hydra"):
        keys, text = name.split("."), str(value)
        is_called = "_target_" in keys or (
            isinstance(value, str) and (keys[-1] in LOGGING_CALLS or text.startswith(("ext://", "cfg://")))
        )
        if is_called and text not in LOGGING and not text.startswith(PLUGINS) and not _allowed_by_user(text):
            _check_own(name, text, own)
    for node in CALLING_NODES:
        for name, value in leaves(hydra.get(node), f"hydra.{node}"):
            if isinstance(value, str) and "${" in PLAIN.sub("", value):
                raise UserError(
                    f"{name}={value} is refused: Hydra reads it before it can be checked, and it may become a call.\n"
                    "Nothing was run. Write the value itself, or ${oc.env:NAME}."
                )


def _check_own(option: str, target: str, packages: list[str]) -> None:
    name = target.removeprefix("ext://")
    with about(f"{option}={target} is refused"):
        if not is_own(name, packages):
            raise UserError(
                "a configuration may call lightune's own classes, those that conf/ names, "
                "and optimizers, schedules, losses and metrics of torch, transformers and torchmetrics.\n"
                "Nothing was run. If you know the code and want it, allow it, or the package that holds it, by name:\n"
                f"{VARIABLE}={name} python train.py …\n"
                "To allow a package of your own for good, name it in your project's pyproject.toml, under [tool.lightune]:\n"
                f'packages = ["{name.partition(".")[0]}"]'
            )


def _allowed_by_user(target: str) -> bool:
    names = [name.strip().rstrip(".") for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return is_within(target.removeprefix("ext://"), names)


def _is_ours(target: str) -> bool:
    """Return whether a name is defined in this package, not only imported by a module of it."""
    if not target.startswith("lightune.") or target.startswith(ENTRY_POINTS):
        return False
    return str(getattr(_found(target), "__module__", "")).startswith("lightune.")


def _is_of_a_kind(target: str) -> bool:
    """Return whether a name is one of the classes in ``KINDS``."""
    value = _found(target) if target.startswith(KIND_PREFIXES) else None
    if not isinstance(value, type):
        return False
    bases = [bases for home, bases in KINDS.items() if f"{value.__module__}.".startswith(f"{home}.")]
    return any(issubclass(value, pkgutil.resolve_name(base)) for names in bases for base in names)


def _found(target: str) -> Any:
    """Return a public name of a module, or None; UserError for a module that lacks one of its own imports."""
    module, _, name = target.rpartition(".")
    if name.startswith("_"):
        return None
    try:
        with fast_imports():
            return getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        if error.name and is_within(module, [error.name]):
            return None
        raise UserError(f"{target} cannot be imported: {error}.\nmake setup installs what it needs.") from error
