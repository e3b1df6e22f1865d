"""How a run was started, and how to start it again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config.nested import flat
from lightune.config.older_runs import renamed
from lightune.config.own_packages import PROJECT, conf_folders

CONFIG_DIR, SEARCH_PATH = "--config-dir", "hydra.searchpath"
"""Both name folders of YAML that are searched after the shipped."""


def chosen_tuning() -> str:
    """Return the chosen option of ``conf/tuning``."""
    return str(HydraConfig.get().runtime.choices["tuning"])


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
        *("--config-path", conf),
        *composed_from(hydra),
        *hydra.overrides.task,
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
    ]


def composed_from(hydra: Any) -> list[str]:
    """Return the arguments by which Hydra composes from the same folders and the same file; options come first.

    Args:
        hydra: Hydra's node, of a run or a sweep.
    """
    folders, name = _added_folders(hydra), OmegaConf.select(hydra, "job.config_name")
    options = [word for path in folders[CONFIG_DIR] for word in (CONFIG_DIR, path)]
    is_own = name not in (None, "train")
    paths = ",".join(map(quoted, folders[SEARCH_PATH]))
    return [
        *options,
        *(["--config-name", name] if is_own else []),
        # said although it is empty: a file that somebody sent may name a module, which would be imported
        *([f"{SEARCH_PATH}=[{paths}]"] if paths or (is_own and options) else []),
    ]


def resumed_from(folder: Path, hydra: Any, *, overrides: Sequence[str]) -> list[str]:
    """Return the same for a run or a sweep that goes on; nothing if the person names the folders anew.

    Args:
        folder: of the run or the sweep.
        hydra: Hydra's node there.
        overrides: what the person adds to the command.

    Raises:
        UserError: one of the folders is gone, or belongs to a project that is not the person's.
    """
    folders = _added_folders(hydra)
    for path in folders[PROJECT]:
        if Path(path).is_dir() and Path(path) not in conf_folders():
            raise UserError(
                f"{folder} was started in a project with {path}; a run cannot vouch for its code.\n"
                f"If it is yours, go there, or name it: {PROJECT}={Path(path).parent} lightune resume {folder}"
            )
    if any(word.partition("=")[0] in (CONFIG_DIR, SEARCH_PATH) for word in overrides):
        return []
    for path in folders[CONFIG_DIR] + folders[SEARCH_PATH]:
        if not Path(path).is_dir():
            raise UserError(
                f"{folder} was started with YAML of {path}, and there is no such folder. Nothing was run.\n"
                f"Say where it is now: lightune resume {folder} {CONFIG_DIR} DIR"
            )
    return composed_from(hydra)


def saved_composed_from(folder: Path) -> list[str]:
    """Return the arguments by which a run was composed; none where its folder does not say."""
    saved = folder / ".hydra" / "hydra.yaml"
    return composed_from(OmegaConf.load(saved).hydra) if saved.is_file() else []


def _added_folders(hydra: Any) -> dict[str, list[str]]:
    """Return the folders of YAML besides the shipped, by what names them."""
    found: dict[str, list[str]] = {CONFIG_DIR: [], SEARCH_PATH: [], PROJECT: []}
    for source in hydra.runtime.get("config_sources") or ():
        option = {"command-line": CONFIG_DIR, "lightune": PROJECT}.get(
            source.provider, source.provider.partition(" ")[0]
        )
        if option in found:
            is_folder = source.schema == "file"
            found[option].append(
                str(Path(hydra.runtime.cwd, source.path)) if is_folder else f"{source.schema}://{source.path}"
            )
    return found


def resume_arguments(folder: Path, *, overrides: Sequence[str] = ()) -> tuple[list[str], Path]:
    """Return the arguments of ``train.py`` that resume a run, and the working directory that it was started in.

    ``overrides`` are what the person adds to the command; they are not part of the result.

    Raises:
        UserError: this is not a run folder, or ``train.py`` did not write it: Hydra's own settings can run code.
    """
    saved, hydra = folder / ".hydra" / "overrides.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise not_a_run(folder, saved)
    settings = [renamed(override) for override in overrides_of(folder) or []]
    for override in settings:
        if override.startswith("-") or override.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {override!r} is not a setting of a run. Nothing was run.")
    node = OmegaConf.load(hydra).hydra
    folders = resumed_from(folder, node, overrides=overrides)
    return [*folders, *settings, f"hydra.run.dir={quoted(folder)}", f"resume={quoted(folder)}"], Path(node.runtime.cwd)


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
    return settings, shlex.join(["python", "train.py", *saved_composed_from(folder), *(overrides_of(folder) or [])])


def not_a_run(folder: Path, missing: Path) -> UserError:
    """Return the error for a folder that holds no run."""
    return UserError(
        f"{folder} is not the folder of a run: there is no {missing}.\n"
        "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
    )
