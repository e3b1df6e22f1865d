"""How a sweep is started again, read from its folder."""

import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from lightune.common.errors import UserError

SAFE = re.compile(r"hydra/launcher=\w+|hydra\.sweep\.subdir=.*", re.DOTALL)
"""Hydra's own settings that run nothing, and are taken from a file."""

SET_ANEW = ("hydra.mode=", "hydra.sweep.dir=")


def sweep_started_with(folder: Path, *, given: list[str]) -> tuple[list[str], Path]:
    """Return what ``train.py`` was given to start a sweep, to go on in its folder, and where that was.

    Args:
        folder: of the sweep.
        given: what the person at the keyboard says beside.

    Raises:
        UserError: the file was not written by ``train.py``, or it sets something of Hydra's that may run code and that
            the person has not said again.
    """
    saved = folder / "multirun.yaml"
    try:
        hydra: Any = OmegaConf.to_container(OmegaConf.load(saved).hydra, resolve=False)
        task = [str(one) for one in hydra["overrides"]["task"]]
        own = [str(one) for one in hydra["overrides"]["hydra"]]
        cwd = Path(str(hydra["runtime"]["cwd"]))
    except Exception as error:  # whatever a damaged file makes of YAML
        raise UserError(f"{saved} cannot be read: {str(error).strip().partition(chr(10))[0]}") from error
    for one in task:
        if one.startswith("-") or one.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {one!r} is not a setting of a run. Nothing was run.")
    named = {one.partition("=")[0] for one in given}
    own = [one for one in own if not one.startswith(SET_ANEW)]
    for one in own:
        if not SAFE.fullmatch(one) and one.partition("=")[0] not in named:
            raise UserError(
                f"{folder} was started with {one}, which may run code; a folder cannot vouch for it.\n"
                f"Nothing was run. If you know it, say it again: lightune resume {folder} {one}"
            )
    own = [one for one in own if SAFE.fullmatch(one)]
    quoted = QuotedString(text=str(folder), quote=Quote.single).with_quotes()
    return ["-m", *task, *own, f"hydra.sweep.dir={quoted}"], cwd
