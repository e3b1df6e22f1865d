"""``lightune resume``: go on with a run or a sweep that was stopped."""

import argparse
import os
import sys
from pathlib import Path

from lightune.commands import Commands
from lightune.config import resume_arguments
from lightune.config.restart import is_sweep, restart_arguments


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("resume", help="go on with a run or a sweep that was stopped, as if it had not been")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run or a sweep")
    parser.add_argument("overrides", nargs="*", metavar="OPTION=VALUE", help="such as trainer.max_epochs=5")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Start training again as the run was started, in this process's place: signals and exit code are its own."""
    folder = arguments.run.resolve()
    if is_sweep(folder):
        overrides, cwd = restart_arguments(folder, overrides=arguments.overrides)
    else:
        overrides, cwd = resume_arguments(folder)
    os.chdir(cwd if cwd.is_dir() else Path.cwd())
    # -P: no module is imported from a folder that the run names
    os.execv(sys.executable, [sys.executable, "-P", "-m", "lightune.train", *overrides, *arguments.overrides])
