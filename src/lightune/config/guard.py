"""What Hydra composes, looked at before Hydra acts on it."""

import copy
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lightune.common import processes
from lightune.common.errors import UserError, cannot_write
from lightune.config import credentials, paths
from lightune.config.targets import check_hydra_targets

ONE_OF = ("data", "model", "task", "trainer", "optimizer", "scheduler", "tuning")
"""Groups of which a run needs one option."""


@contextmanager
def guarded_command_line() -> Iterator[None]:
    """Check each configuration that Hydra composes before Hydra acts on it.

    Hydra makes folders, writes the configuration there, sets up logging and instantiates its own callbacks, launcher
    and sweeper before the decorated function is called, for which it has no hook: what composes is replaced.
    Secrets among the command line's overrides go to the environment.

    Raises:
        UserError: what is refused, see :func:`check_composed`; or a pickle of a former run is to be run again.
    """
    sys.argv[1:] = credentials.hide(sys.argv[1:])
    if any(argument.startswith("--experimental-r") for argument in sys.argv[1:]):
        raise UserError(
            "--experimental-rerun is refused: it reads a pickle, which may run anything.\n"
            "Name the options of that run again; they are in its .hydra/overrides.yaml."
        )
    hydra_main.ConfigLoaderImpl = CheckedLoader  # type: ignore[attr-defined]
    try:
        yield
    except (OSError, ValueError) as error:
        cause = (
            error.__cause__ if isinstance(error, ValueError) else error
        )  # a log file that cannot be opened
        if not isinstance(cause, OSError) or cause.errno is None or not _raised_by_hydra(error):
            raise  # a group's option that is not there is an OSError too
        raise cannot_write(cause) from error
    finally:
        hydra_main.ConfigLoaderImpl = ConfigLoaderImpl  # type: ignore[attr-defined]


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's, with a check of what it composes; launchers send it to the processes that they start."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        with warnings.catch_warnings():
            # launchers of conf/ bear the names of plugins, whose options are theirs, too, as far as one is installed
            warnings.filterwarnings(
                "ignore", r"\n'hydra/launcher/\w+' is validated against ConfigStore schema"
            )
            cfg = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        is_asked = not validate_sweep_overrides  # what the mode is: composed as a sweep is
        processes.check_sweep(is_sweep=run_mode == RunMode.MULTIRUN and not is_asked)
        check_composed(cfg)
        return cfg


def _raised_by_hydra(error: BaseException) -> bool:
    """Say whether Hydra itself failed, not the job that it has started."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names]
    return bool(ours) and ours[-1].startswith(("hydra.", "hydra_plugins."))


def check_composed(cfg: DictConfig) -> None:
    """Refuse a configuration with Hydra's own node that Hydra must not act on.

    Raises:
        UserError: Hydra would call what nobody allowed, or write a secret, or write outside the folders named.
    """
    plain: Any = OmegaConf.to_container(cfg)
    check_hydra_targets(plain["hydra"])
    credentials.check_credentials(plain)
    choices = plain["hydra"]["runtime"]["choices"]
    paths.check_choices(choices)
    for group in (*ONE_OF, "callbacks", "logger"):
        if group not in (choices if group in ONE_OF else plain):
            raise UserError(
                f"{group}: a run needs one option of this group, and it was taken out or given several.\n"
                f"Leave it out for the default, or choose one: {group}=NAME. All: python train.py --help"
            )
    probe = copy.deepcopy(cfg)
    with open_dict(probe):
        probe.hydra.job.num, probe.hydra.job.id = 0, "0"  # these are known only when a job starts
        probe.hydra.runtime.output_dir = "."
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(probe)
    try:
        paths.check_inside(
            "hydra.sweep.subdir", str(probe.hydra.sweep.subdir), folder=str(probe.hydra.sweep.dir)
        )
        for option in ("output_subdir", "job.name"):
            name = OmegaConf.select(probe.hydra, option)
            if name is not None:
                paths.check_inside(f"hydra.{option}", str(name), folder="")
    finally:
        HydraConfig.instance().cfg = before
