"""``lightune report``: a page to look at, of one run, or of several side by side."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lightune.commands import Commands
from lightune.commands.open_run import load
from lightune.commands.output import HTML, check_out
from lightune.common.errors import UserError
from lightune.config import load_run_config

if TYPE_CHECKING:
    from lightune.data import DataModule
    from lightune.runs.report.run_results import RunResults

log = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write an HTML page of a run, or of several compared")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    usage = "default: RUN/report.html; comparison.html for several runs"
    parser.add_argument("--out", type=Path, metavar="FILE", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    runs: list[Path] = arguments.runs
    for folder in runs:
        load_run_config(folder)  # its errors are reported before torch is imported
        if not (folder / "metrics.json").is_file():
            raise UserError(
                f"{folder} holds no metrics.json: the run has not finished.\nGo on with it: lightune resume {folder}"
            )
    check_out(arguments.out, endings=HTML)
    out = arguments.out or (runs[0] / "report.html" if len(runs) == 1 else Path("comparison.html"))

    from lightune.common.quiet import quiet
    from lightune.runs.report.page import write_page

    quiet()
    write_page(out, [_read(folder, is_compared=len(runs) > 1) for folder in runs])
    print(out)


def _read(folder: Path, *, is_compared: bool) -> "RunResults":
    """Read a run and, where it can be read, its data; measure the best checkpoint again where no rows were kept."""
    from lightune.runs.inference import inference_trainer
    from lightune.runs.load_run import task_class
    from lightune.runs.report.predictions import write_rows
    from lightune.runs.report.run_results import read_run_results
    from lightune.runs.run_folder import Run

    cfg, data, task = load_run_config(folder), _data(folder), None
    has_rows = (folder / "predictions.jsonl").is_file()
    if data is not None and not (is_compared and has_rows):
        _, task, _ = load(folder)
        if not has_rows:
            trainer = inference_trainer(cfg.trainer.precision)
            trainer.test(task, data, verbose=False)
            write_rows(Run(folder).predictions, task.all_rows("test"), data=data)
    results = read_run_results(folder, task_class=task_class(cfg), data=data, task=task)
    if is_compared and not results.rows:
        reason = (
            f"its data cannot be read to write them: {cfg.data.path}"
            if data is None
            else f"task={cfg.task_name} has no results of single rows"
        )
        raise UserError(f"{folder} holds no predictions.jsonl, which a comparison needs: {reason}.")
    return results


def _data(folder: Path) -> "DataModule | None":
    """Read a run's data, for its texts; a report without them is better than none."""
    from lightune.runs.load_run import rebuild_data

    try:
        return rebuild_data(folder)
    except (UserError, OSError) as error:
        log.warning(f"{folder}: the data cannot be read, so the report shows no texts. {error}")
        return None
