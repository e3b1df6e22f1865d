"""How a run was started, and how to start it again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.common.files import refuse_archive
from lightune.config.nested import flat
from lightune.config.older_runs import renamed
from lightune.config.own_packages import conf_folders

SEARCH_PATH = "hydra.searchpath"


def command(*overrides: str) -> str:
    """Return the command that trains this job with other options."""
    replaced = {option_of(override) for override in overrides} | {"plan", "find"}
    kept = [one for one in HydraConfig.get().overrides.task if option_of(one) not in replaced]
    return shlex.join(["python", "train.py", *composed_from(HydraConfig.get()), *kept, *overrides])


def option_of(override: str) -> str:
    """Return the name of the option that an override sets."""
    return override.partition("=")[0].lstrip("+")


def rerun_arguments(folder: Path) -> list[str]:
    """Return the script's arguments that run this job again in this folder and leave its configuration as it is."""
    hydra = HydraConfig.get()
    conf = next(source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return [
        *("--config-path", conf, *composed_from(hydra)),
        *hydra.overrides.task,
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
    ]


def composed_from(hydra: Any, *, resumed_with: Sequence[str] | None = None) -> list[str]:
    """Return the arguments, options first, by which Hydra composes from the same folders and the same file.

    Args:
        hydra: Hydra's node, of a run or a sweep.
        resumed_with: where somebody may have sent that, the person's overrides, which may name the folders anew.

    Raises:
        UserError: a folder is gone, or it is a module, which would be imported.
    """
    resumed = resumed_with is not None
    folders: dict[str, list[str]] = {"command-line": [], SEARCH_PATH: []}
    for source in () if names_folders(resumed_with or ()) else hydra.runtime.get("config_sources") or ():
        provider, path = source.provider.partition(" ")[0], Path(hydra.runtime.cwd, source.path)
        if resumed and provider == "lightune" and path.is_dir() and path not in conf_folders():
            # of a project that is not the person's here: its YAML may be read, its code is refused
            provider = SEARCH_PATH
        if resumed and provider in folders and not (source.schema == "file" and path.is_dir()):
            raise UserError(
                f"It was started with YAML of {path}, which is no folder here. Nothing was run.\n"
                f"Say where that YAML is now: lightune resume … '{SEARCH_PATH}=[/DIR]'"
            )
        folders.get(provider, []).append(str(path) if source.schema == "file" else f"{source.schema}://{source.path}")
    arguments = [word for path in folders["command-line"] for word in ("--config-dir", path)]
    if (name := OmegaConf.select(hydra, "job.config_name")) not in (None, "train"):
        arguments += ["--config-name", name]
    # said where it is empty, too: a file that was sent may name a module
    if folders[SEARCH_PATH] or (resumed and folders["command-line"]):
        arguments.append(f"{SEARCH_PATH}=[{','.join(map(quoted, folders[SEARCH_PATH]))}]")
    return arguments


def names_folders(arguments: Sequence[str]) -> bool:
    """Return whether arguments name folders of YAML besides the shipped."""
    return any(word.startswith(("--config-dir", f"{SEARCH_PATH}=")) for word in arguments)


def saved_hydra(folder: Path) -> Any:
    """Return Hydra's node of a run; one that says nothing where the folder has none."""
    saved = folder / ".hydra" / "hydra.yaml"
    return OmegaConf.load(saved).hydra if saved.is_file() else OmegaConf.create({"runtime": {}})


def repeated(folder: Path, overrides: Sequence[str]) -> str:
    """Return the command that trains with these overrides what a run was composed from."""
    return shlex.join(["python", "train.py", *composed_from(saved_hydra(folder)), *overrides])


def resume_arguments(folder: Path, *, overrides: Sequence[str] = ()) -> tuple[list[str], Path]:
    """Return the arguments of ``train.py`` that resume a run, but the person's, and the directory that it was started in.

    Raises:
        UserError: this is not a run folder, or ``train.py`` did not write it: Hydra's own settings can run code.
    """
    saved, hydra = folder / ".hydra" / "overrides.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise not_a_run(folder, saved)
    settings, node = [renamed(override) for override in overrides_of(folder) or []], saved_hydra(folder)
    for setting in settings:
        if setting.startswith("-") or setting.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {setting!r} is not a setting of a run. Nothing was run.")
    arguments = [*composed_from(node, resumed_with=overrides), *settings]
    return [*arguments, f"hydra.run.dir={quoted(folder)}", f"resume={quoted(folder)}"], Path(node.runtime.cwd)


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
    return settings, repeated(folder, overrides_of(folder) or [])


def not_a_run(folder: Path, missing: Path) -> UserError:
    """Return the error for a folder that holds no run; raise that of an archive."""
    refuse_archive(folder)
    return UserError(
        f"{folder} is not the folder of a run: there is no {missing}.\n"
        "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
    )
