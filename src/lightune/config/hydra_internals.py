"""Hydra's private API: all that the project uses of it, checked by ``tests/config/test_hydra_internals.py``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as hydra_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl as ConfigLoaderImpl
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

CORE_PLUGINS = "hydra._internal.core_plugins."
"""Where Hydra's own launchers and sweepers live."""


@contextmanager
def composing_with(loader: type[ConfigLoaderImpl]) -> Iterator[None]:
    """Compose the command line's configuration with this loader; Hydra has no hook for it."""
    module: Any = hydra_module
    usual = module.ConfigLoaderImpl
    module.ConfigLoaderImpl = loader
    try:
        yield
    finally:
        module.ConfigLoaderImpl = usual


def basic_launcher() -> Launcher:
    """Make the launcher that runs jobs in this process.

    Its module is imported late: Hydra's search for plugins loads it again, and breaks classes imported before.
    """
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return BasicLauncher()


def error_of(job: JobReturn) -> Any:
    """Return the exception of a failed job; ``job.return_value`` would raise it."""
    return job._return_value
