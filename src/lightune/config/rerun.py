"""How a run was started, and how to start it again."""

import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config.nested import flat
from lightune.config.older_runs import renamed


def chosen_tuning() -> str:
    """Return the chosen option of ``conf/tuning``."""
    return str(HydraConfig.get().runtime.choices["tuning"])


def command(*overrides: str) -> str:
    """Return the command that trains this job with other options."""
    replaced = {option_of(override) for override in overrides} | {"plan", "find"}
    kept = [one for one in HydraConfig.get().overrides.task if option_of(one) not in replaced]
    return shlex.join(["python", "train.py", *kept, *overrides])


def option_of(override: str) -> str:
    """Return the name of the option that an override sets."""
    return override.partition("=")[0].lstrip("+")


def rerun_arguments(folder: Path) -> list[str]:
    """Return the script's arguments that run this job again in this folder and leave its configuration as it is."""
    hydra = HydraConfig.get()
    conf = next(source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return [
        *("--config-path", conf, "--config-name", str(hydra.job.config_name)),
        *hydra.overrides.task,
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
    ]


def resume_arguments(folder: Path) -> tuple[list[str], Path]:
    """Return the arguments of ``train.py`` that resume a run, and the working directory that it was started in.

    Raises:
        UserError: this is not a run folder, or ``train.py`` did not write it: Hydra's own settings can run code.
    """
    saved, hydra = folder / ".hydra" / "overrides.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise not_a_run(folder, saved)
    overrides = [renamed(override) for override in overrides_of(folder) or []]
    for override in overrides:
        if override.startswith("-") or override.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {override!r} is not a setting of a run. Nothing was run.")
    cwd = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    return [*overrides, f"hydra.run.dir={quoted(folder)}", f"resume={quoted(folder)}"], cwd


def quoted(value: object) -> str:
    """Quote a value for Hydra's command line."""
    return QuotedString(text=str(value), quote=Quote.single).with_quotes()


def overrides_of(folder: Path) -> list[str] | None:
    """Return the command line's overrides of a run, without ``resume``; None where its folder does not say."""
    saved = folder / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        return None
    overrides = [str(override) for override in OmegaConf.to_container(OmegaConf.load(saved)) or []]
    return [override for override in overrides if not override.startswith("resume=")]


def settings_and_command(folder: Path) -> tuple[dict[str, Any], str]:
    """Return a run's settings by full name, and the command that repeats it.

    References to other settings are left out. References to the environment, such as a password, are not looked up.
    """
    saved = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"), resolve=False)
    settings = {name: value for name, value in flat(saved) if not str(value).startswith("${") or "oc.env" in str(value)}
    return settings, shlex.join(["python", "train.py", *(overrides_of(folder) or [])])


def not_a_run(folder: Path, missing: Path) -> UserError:
    """Return the error for a folder that holds no run."""
    return UserError(
        f"{folder} is not the folder of a run: there is no {missing}.\n"
        "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
    )
