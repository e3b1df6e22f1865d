"""The base class of the launchers. Hydra scans modules for plugins, except those whose names begin with ``_``."""

import importlib
from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lightune.common.errors import UserError


class BaseLauncher(Launcher):
    """A launcher that checks every job before it starts the first."""

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def compose(self, job_overrides: Sequence[Sequence[str]]) -> list[DictConfig]:
        """Compose the configuration of every job in this process; a UserError refuses one, see ``check_composed``."""
        loader = self.hydra_context.config_loader
        return [loader.load_sweep_config(self.config, list(overrides)) for overrides in job_overrides]

    def set_up(self, launcher: Launcher, task_function: TaskFunction) -> Launcher:
        """Return another launcher, ready to run this sweep's jobs by ``task_function``."""
        launcher.setup(hydra_context=self.hydra_context, config=self.config, task_function=task_function)
        return launcher


def import_extra(module: str, *, launcher: str) -> Any:
    """Import a module of the optional dependencies, or raise a UserError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"hydra/launcher={launcher} needs a package that is not installed: {error}.\n"
            f"pip install -e '.[{'ray' if launcher == 'ray' else 'launchers'}]'"
        ) from error
