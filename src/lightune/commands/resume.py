"""``lightune resume``: go on with a run or a sweep that was stopped."""

import argparse
import os
import sys
from pathlib import Path

from lightune.commands import Commands
from lightune.config import resume_arguments
from lightune.config.check_composed import RESUMED
from lightune.config.own_packages import PROJECT, project
from lightune.config.rerun import names_folders
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
    resumed = restart_arguments if is_sweep(folder) else resume_arguments
    kept, cwd = resumed(folder, overrides=arguments.overrides)
    # no module is imported from a folder that the run names, by the processes of this one neither
    os.environ |= {PROJECT: str(project() or ""), "PYTHONSAFEPATH": "1"}
    if names_folders(kept):
        os.environ[RESUMED] = str(folder)
    os.chdir(cwd if cwd.is_dir() else Path.cwd())
    os.execv(sys.executable, [sys.executable, "-m", "lightune.train", *kept, *arguments.overrides])
