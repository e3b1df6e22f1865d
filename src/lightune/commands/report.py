"""``lightune report``: a page to look at, of one run, or of several side by side."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lightune.commands import Commands
from lightune.commands.open_run import inference_trainer, load
from lightune.common.errors import UserError
from lightune.config import load_run_config, settings_and_command

if TYPE_CHECKING:
    from lightning import Trainer

    from lightune.data import DataModule
    from lightune.tasks import Task

log = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write an HTML page of a run, or of several compared")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN/report.html; comparison.html for several runs"
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    runs: list[Path] = arguments.runs
    for folder in runs:
        load_run_config(folder)  # what is wrong with it is said before torch is imported
        if not (folder / "metrics.json").is_file():
            raise UserError(
                f"{folder} holds no metrics.json: the run has not finished.\nGo on with it: lightune resume {folder}"
            )
    out = arguments.out or (runs[0] / "report.html" if len(runs) == 1 else Path("comparison.html"))
    if not out.parent.is_dir() or out.is_dir():
        raise UserError(f"--out {out}: expected a file in a folder that is there.")

    from lightune.common.quiet import quiet
    from lightune.runs.report.page import write_page
    from lightune.runs.report.run_results import read_material

    quiet()
    found = []
    for folder in runs:
        data = _data(folder)
        task = None
        if data is not None and (len(runs) == 1 or not (folder / "predictions.jsonl").is_file()):
            cfg, task, _ = load(folder)
            if not (folder / "predictions.jsonl").is_file():
                _predict(folder, data, task, inference_trainer(cfg))
        config, command = settings_and_command(folder)
        found.append(read_material(folder, config=config, command=command, data=data, task=task))
        if len(runs) > 1 and not found[-1].rows:
            raise UserError(
                f"{folder} holds no predictions.jsonl, which a comparison needs.\nHave its data at hand, and its task one that has rows: not masked_lm."
            )
    write_page(out, found)
    print(out)


def _data(folder: Path) -> "DataModule | None":
    """Read a run's data, for its texts; a report without them is better than none."""
    from lightune.runs.load import rebuild_data

    try:
        return rebuild_data(folder)
    except (UserError, OSError) as error:
        log.warning(f"{folder}: the data cannot be read, so the report shows no texts. {error}")
        return None


def _predict(folder: Path, data: "DataModule", task: "Task", trainer: "Trainer") -> None:
    """Measure the best checkpoint again, of a run from before predictions were kept."""
    from lightune.runs.report.predictions import write_rows
    from lightune.runs.run import Run

    trainer.test(task, data, verbose=False)
    write_rows(
        Run(folder).predictions, task.all_test_rows(), rows=data.rows["test"], lengths=data.lengths("test")
    )
