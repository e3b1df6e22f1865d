"""``report.html``: what a run found, for a person to look at; one file that asks the network for nothing."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightune.data import DataModule
from lightune.runs.report.predictions import Row, write_rows
from lightune.runs.run import Run
from lightune.tasks import Task

log = logging.getLogger(__name__)

Config = tuple[dict[str, Any], str]
"""A run's settings by their whole names, and the command that repeats it."""


def report_finished(
    run: Run, rows: list[Row], *, data: DataModule, task: Task, config: Callable[[Path], Config], page: bool
) -> None:
    """Write ``predictions.jsonl`` and ``report.html`` at the end of training; where that fails, warn and go on.

    Args:
        run: that has written its figures.
        rows: as the task's ``all_test_rows`` returns them.
        data: of the run.
        task: that was measured.
        config: reads the settings from a run's folder.
        page: whether ``report.html`` is wanted.
    """
    try:
        write_rows(run.predictions, rows, rows=data.rows["test"], lengths=data.lengths("test"))
        if page:
            from lightune.runs.report.page import write_page
            from lightune.runs.report.run_results import (
                read_material,  # matplotlib is worth a second only here
            )

            alone = task.trainer.world_size == 1  # the others would wait, or hold a share of the weights
            settings, command = config(run.folder)
            results = read_material(
                run.folder,
                config=settings,
                command=command,
                task_class=type(task),
                data=data,
                task=task if alone else None,
            )
            write_page(run.report, [results])
    except Exception as error:  # a finished run is worth more than its report
        log.warning(
            f"No report was written ({type(error).__name__}: {error}). Try: lightune report {run.folder}"
        )
