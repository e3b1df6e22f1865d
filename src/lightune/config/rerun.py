"""The command that a person gave, to be given again."""

import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config.flat import flat
from lightune.config.older_runs import renamed


def chosen_tuning() -> str:
    """Return the chosen option of ``conf/tuning``."""
    return str(HydraConfig.get().runtime.choices["tuning"])


def command(*overrides: str) -> str:
    """Return the command of this job with other options, to train with."""
    new = [one.partition("=")[0] for one in overrides]
    given = [one for one in HydraConfig.get().overrides.task if _name(one) not in (*new, "plan", "find")]
    return shlex.join(["python", "train.py", *given, *overrides])


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def rerun_arguments(folder: Path) -> list[str]:
    """Return what a script must be given to run this job again, in this folder, its configuration left as it is."""
    hydra = HydraConfig.get()
    conf = next(source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return [
        *("--config-path", conf, "--config-name", str(hydra.job.config_name)),
        *hydra.overrides.task,
        *_in_folder(folder),
        "hydra.output_subdir=null",
    ]


def _in_folder(folder: Path) -> list[str]:
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.run.dir='{quoted}'"]


def started_with(folder: Path) -> tuple[list[str], Path]:
    """Return what ``train.py`` was given to start a run, with the run's folder to resume in, and where that was.

    Raises:
        UserError: this is not a run folder, or it was not written by ``train.py``: Hydra's own settings run code.
    """
    saved, hydra = folder / ".hydra" / "overrides.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise not_a_run(folder, saved)
    overrides = [renamed(one) for one in overrides_of(folder) or []]
    for one in overrides:
        if one.startswith("-") or one.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {one!r} is not a setting of a run. Nothing was run.")
    cwd = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    resume = [one.replace("hydra.run.dir", "resume") for one in _in_folder(folder)]
    return [*overrides, *_in_folder(folder), *resume], cwd


def overrides_of(folder: Path) -> list[str] | None:
    """Return what a run was given on the command line, without what only resumed it; None where nothing says so."""
    saved = folder / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        return None
    overrides = [str(one) for one in OmegaConf.to_container(OmegaConf.load(saved)) or []]
    return [one for one in overrides if not one.startswith("resume=")]


def settings_and_command(folder: Path) -> tuple[dict[str, Any], str]:
    """Return a run's settings by their whole names, and the command that repeats it, for a person to read.

    What refers to another setting is left out; what refers to the environment, such as a password, is not looked up.
    """
    saved = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"), resolve=False)
    settings = {
        name: value
        for name, value in flat(saved)
        if not str(value).startswith("${") or "oc.env" in str(value)
    }
    return settings, shlex.join(["python", "train.py", *(overrides_of(folder) or [])])


def not_a_run(folder: Path, missing: Path) -> UserError:
    """Return what is said of a folder that holds no run."""
    return UserError(
        f"{folder} is not the folder of a run: there is no {missing}.\n"
        "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
    )
