"""Start a sweep again from its folder."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config.rerun import composed_from, quoted

# Settings of Hydra that run no code, so that they may be read from a file.
SAFE_SETTING = re.compile(r"hydra/launcher=\w+|hydra\.sweep\.subdir=.*", re.DOTALL)
REPLACED_SETTINGS = ("hydra.mode=", "hydra.sweep.dir=", "hydra.searchpath=")


def is_sweep(folder: Path) -> bool:
    """Return whether this is the folder of a sweep."""
    return (folder / "sweep.id").is_file()


def restart_arguments(sweep_dir: Path, *, overrides: list[str]) -> tuple[list[str], Path]:
    """Return the arguments of ``train.py`` that continue a sweep, and the working directory that it was started in.

    ``overrides`` are what the person adds to the command; they are not part of the result.

    Raises:
        UserError: ``train.py`` did not write the file; or it contains a setting of Hydra that may run code, and that the
            person has not repeated.
    """
    saved = sweep_dir / "multirun.yaml"
    try:
        node = OmegaConf.load(saved).hydra
        hydra: Any = OmegaConf.to_container(node, resolve=False)
        options = [str(override) for override in hydra["overrides"]["task"]]
        settings = [str(override) for override in hydra["overrides"]["hydra"]]
        cwd = Path(str(hydra["runtime"]["cwd"]))
    # a damaged file may raise anything
    except Exception as error:
        raise UserError(f"{saved} cannot be read: {str(error).strip().partition(chr(10))[0]}") from error
    for option in options:
        if option.startswith("-") or option.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {option!r} is not a setting of a run. Nothing was run.")
    repeated = {override.partition("=")[0] for override in overrides}
    settings = [setting for setting in settings if not setting.startswith(REPLACED_SETTINGS)]
    for setting in settings:
        if not SAFE_SETTING.fullmatch(setting) and setting.partition("=")[0] not in repeated:
            raise UserError(
                f"{sweep_dir} was started with {setting}, which may run code; a folder cannot vouch for it.\n"
                f"Nothing was run. If you trust it, repeat it: lightune resume {sweep_dir} {setting}"
            )
    safe = [setting for setting in settings if SAFE_SETTING.fullmatch(setting)]
    folders = composed_from(node, resumed_with=overrides)
    return ["-m", *folders, *options, *safe, f"hydra.sweep.dir={quoted(sweep_dir)}"], cwd
