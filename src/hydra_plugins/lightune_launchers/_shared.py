"""What the launchers share."""

import importlib
from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from lightune.common.errors import UserError


def needed(module: str, *, launcher: str) -> Any:
    """Import a module of the optional dependencies.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"hydra/launcher={launcher} needs a package that is not installed: {error}.\n"
            f"pip install -e '.[{'ray' if launcher == 'ray' else 'launchers'}]'"
        ) from error


def composed(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]]
) -> list[DictConfig]:
    """Compose every job here, too: what is refused of one is said before any has begun.

    Raises:
        UserError: see ``lightune.config.check_composed``.
    """
    return [context.config_loader.load_sweep_config(config, list(each)) for each in job_overrides]
