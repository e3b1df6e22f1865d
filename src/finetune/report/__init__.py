"""``report.html``: what a run found, for a person to look at; one file that asks the network for nothing."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.data import DataModule
from finetune.report.rows import Row, write_rows
from finetune.run import Run

log = logging.getLogger(__name__)

Config = tuple[dict[str, Any], str]
"""A run's settings by their whole names, and the command that repeats it."""


def report_finished(
    run: Run, rows: list[Row], *, data: DataModule, config: Callable[[Path], Config], page: bool
) -> None:
    """Write ``predictions.jsonl`` and ``report.html`` at the end of training; where that fails, warn and go on.

    Args:
        run: that has written its figures.
        rows: as the task's ``all_test_rows`` returns them.
        data: of the run.
        config: reads the settings from a run's folder.
        page: whether ``report.html`` is wanted.
    """
    try:
        write_rows(run.predictions, rows, rows=data.rows["test"], lengths=data.lengths("test"))
        if page:
            write_report(run, data=data, config=config(run.folder))
    except Exception as error:  # a finished run is worth more than its report
        log.warning(
            f"No report was written ({type(error).__name__}: {error}). Try: finetune report {run.folder}"
        )


def write_report(run: Run, *, data: DataModule | None, config: Config) -> None:
    """Write a run's ``report.html``.

    Raises:
        UserError: a file of the run cannot be read.
    """
    from finetune.report.material import read_material  # matplotlib is worth a second only here
    from finetune.report.page import write_page

    settings, command = config
    write_page(run.report, [read_material(run.folder, config=settings, command=command, data=data)])
