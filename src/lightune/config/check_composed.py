"""Check what Hydra composes before Hydra acts on it."""

import copy
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lightune.common import processes
from lightune.common.errors import UserError, cannot_write
from lightune.common.files import refuse_archive
from lightune.config import credentials, own_packages, safe_paths
from lightune.config.allowed_targets import CALLING_NODES, check_hydra_targets
from lightune.config.env_file import read_env_file
from lightune.config.hydra_internals import ConfigLoaderImpl, composing_with
from lightune.config.nested import leaves, select

REQUIRED_GROUPS = ("data", "model", "task", "trainer", "optimizer", "scheduler", "tuning")
"""Groups of which a run needs exactly one option."""

RESUMED = "LIGHTUNE_RESUMED"
"""Names the run or sweep that goes on, where its folder names folders of YAML."""

FOLDER_FLAGS = {"--config-path", "-cp", "--config-dir", "-cd"}
OVERRIDE = re.compile(r"~|[^-].*=", re.DOTALL)


@contextmanager
def guarded_command_line() -> Iterator[None]:
    """Check each configuration that Hydra composes before Hydra acts on it.

    Before Hydra calls the decorated function, it makes folders, writes the configuration there, sets up logging, and
    instantiates its callbacks, launcher and sweeper. It has no hook before that, so its loader is replaced.
    A ``.env`` file is read, secrets among the overrides move to the environment, and flags move behind all overrides.

    Raises:
        UserError: the configuration is refused, see ``check_composed``; or Hydra is to unpickle an earlier run.
    """
    read_env_file()
    sys.argv[1:] = _flags_last(credentials.hide(sys.argv[1:]))
    if any(argument.startswith("--experimental-r") for argument in sys.argv[1:]):
        raise UserError(
            "--experimental-rerun is refused: it reads a pickle, which may run anything.\n"
            "Name the options of that run again; they are in its .hydra/overrides.yaml."
        )
    # a job may go to another directory
    os.environ[own_packages.PROJECT] = str(own_packages.project() or "")
    try:
        with composing_with(CheckedLoader):
            yield
    except (OSError, ValueError) as error:
        # Hydra reports a log file that it cannot open as a ValueError, and an unknown option of a group as an OSError
        cause = error.__cause__ if isinstance(error, ValueError) else error
        if not isinstance(cause, OSError) or cause.errno is None or not _raised_by_hydra(error):
            raise
        raise cannot_write(cause) from error
    finally:
        os.environ.pop(own_packages.PROJECT, None)


def _flags_last(arguments: list[str]) -> list[str]:
    pairs = list(zip(["", *arguments], arguments, strict=False))
    overrides = [one for before, one in pairs if OVERRIDE.match(one) and before not in FOLDER_FLAGS]
    return overrides + [one for before, one in pairs if not OVERRIDE.match(one) or before in FOLDER_FLAGS]


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which checks what it composes; launchers send it to the processes that they start."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        with warnings.catch_warnings():
            # conf/hydra/launcher has the plugins' own names, so that their options are valid where one is installed
            warnings.filterwarnings("ignore", r"\n'hydra/launcher/\w+' is validated against ConfigStore schema")
            cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        # Hydra composes once, unvalidated, to learn the mode itself
        mode_is_known = validate_sweep_overrides
        processes.check_sweep(is_sweep=run_mode == RunMode.MULTIRUN and mode_is_known)
        check_composed(cfg)
        if RESUMED in os.environ:
            self._check_sent(cfg, overrides, run_mode)
        return cfg

    def _check_sent(self, cfg: DictConfig, overrides: list[str], run_mode: RunMode) -> None:
        """Refuse YAML, which may have been sent together with a run, that changes what can run code."""
        search_path = copy.deepcopy(self.config_search_path)
        search_path.get_path()[:] = [one for one in search_path.get_path() if one.provider != "command-line"]
        said = [one for one in overrides if re.match(r"[+~]*hydra(?!\.searchpath)", one)]
        shipped = ConfigLoaderImpl(search_path).load_configuration("train", said, run_mode)
        plain, usual = (OmegaConf.to_container(one.hydra) for one in (cfg, shipped))
        for node in (*CALLING_NODES, "job.env_set"):
            if select(plain, node) != select(usual, node):
                raise UserError(
                    f"YAML that {os.environ[RESUMED]} names sets hydra.{node}, which may run code; a folder cannot vouch for it.\n"
                    f"Nothing was run. If you trust it, name it: lightune resume {os.environ[RESUMED]} 'hydra.searchpath=[/DIR]'"
                )


def _raised_by_hydra(error: BaseException) -> bool:
    """Return whether Hydra itself failed, not the job that it started."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    third_party = [name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names]
    return bool(third_party) and third_party[-1].startswith(("hydra.", "hydra_plugins."))


def check_composed(cfg: DictConfig) -> None:
    """Refuse a configuration, with Hydra's own node, that Hydra must not act on.

    Raises:
        UserError: Hydra would call what nobody allowed, write a secret, or write outside the folders named.
        InterpolationResolutionError: an environment variable is not set.
    """
    plain: Any = OmegaConf.to_container(cfg)
    check_hydra_targets(plain["hydra"])
    credentials.check_credentials(plain)
    if plain.get("resume") is not None:
        refuse_archive(Path(str(plain["resume"])).expanduser())
    choices = plain["hydra"]["runtime"]["choices"]
    safe_paths.check_choices(choices)
    for group in (*REQUIRED_GROUPS, "callbacks", "logger"):
        if group not in (choices if group in REQUIRED_GROUPS else plain):
            raise UserError(
                f"{group}: a run needs one option of this group, and it was taken out or given several.\n"
                f"Leave it out for the default, or choose one: {group}=NAME. All: python train.py --help"
            )
    # job number and output folder are known only when a job starts
    probe = copy.deepcopy(cfg)
    with open_dict(probe):
        probe.hydra.job.num, probe.hydra.job.id = 0, "0"
        probe.hydra.runtime.output_dir = "."
    with hydra_config(probe):
        safe_paths.check_inside("hydra.sweep.subdir", str(probe.hydra.sweep.subdir), folder=str(probe.hydra.sweep.dir))
        for option in ("output_subdir", "job.name"):
            if (name := OmegaConf.select(probe.hydra, option)) is not None:
                safe_paths.check_inside(f"hydra.{option}", str(name), folder="")
        for option, value in leaves(plain):
            # Hydra's own are resolved where it uses them
            if "oc.env:" in str(value) and not option.startswith("hydra."):
                OmegaConf.select(probe, option)


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Resolve ``${hydra:…}`` by this configuration."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before
