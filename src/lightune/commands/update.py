"""``lightune update``: bring later versions of the template into a project that ``lightune new`` wrote."""

import argparse
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightune.commands import Commands
from lightune.commands.new import render, requirement
from lightune.common.errors import UserError

ANSWERS = ".copier-answers.yml"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("update", help="merge later versions of the template into the project that you are in")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if not Path(ANSWERS).is_file():
        raise UserError(f"There is no {ANSWERS}: this is not the folder of a project that lightune new wrote.")
    answers: Any = OmegaConf.load(ANSWERS)
    source = str(answers._src_path)
    render("run_update", overwrite=True, data={"lightune": requirement(source)})
    print("updated; git diff shows what changed, make setup installs it")
