"""``lightune resume``: go on with a run or a sweep that was stopped."""

import argparse
import os
import sys
from pathlib import Path

from lightune.commands import Commands
from lightune.config import resume_arguments
from lightune.config.check_composed import RESUMED
from lightune.config.restart import is_sweep, restart_arguments


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("resume", help="go on with a run or a sweep that was stopped, as if it had not been")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run or a sweep")
    parser.add_argument("overrides", nargs="*", metavar="OPTION=VALUE", help="such as trainer.max_epochs=5")
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="folder of YAML, in place of those that the run was started with"
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Start training again as the run was started, in this process's place: signals and exit code are its own."""
    folder = arguments.run.resolve()
    said = ["--config-dir", str(arguments.config_dir.resolve())] if arguments.config_dir else []
    resumed = restart_arguments if is_sweep(folder) else resume_arguments
    kept, cwd = resumed(folder, overrides=[*said, *arguments.overrides])
    os.chdir(cwd if cwd.is_dir() else Path.cwd())
    # no module is imported from a folder that the run names, in processes of this one neither
    os.environ["PYTHONSAFEPATH"] = "1"
    if any(word.startswith(("--config-dir", "hydra.searchpath=")) for word in kept):
        os.environ[RESUMED] = str(folder)
    os.execv(sys.executable, [sys.executable, "-m", "lightune.train", *said, *kept, *arguments.overrides])
