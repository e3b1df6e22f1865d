"""``report.html``: a run's results for a person to read, in one file that needs no network."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightune.data import DataModule
from lightune.data.quality import inputs_of
from lightune.runs.report.predictions import Row, write_rows
from lightune.runs.run_folder import Run
from lightune.tasks import Task

log = logging.getLogger(__name__)

Config = tuple[dict[str, Any], str]
"""A run's settings by their full names, and the command that repeats the run."""


def report_finished(
    run: Run, rows: list[Row], *, data: DataModule, task: Task, config: Callable[[Path], Config], page: bool
) -> None:
    """Write ``predictions.jsonl`` after training, and ``report.html`` where ``page``; on an error, warn and continue.

    ``run`` has its ``metrics.json``; ``rows`` are the task's ``all_test_rows``; ``config`` reads a run's settings.
    """
    try:
        inputs = inputs_of(data.rows["test"], data.preprocessor)
        write_rows(run.predictions, rows, inputs=inputs, lengths=data.lengths("test"))
        if page:
            # importing matplotlib takes a second
            from lightune.runs.report.page import write_page
            from lightune.runs.report.run_results import read_run_results

            # other processes would wait, or hold a share of the weights
            is_single = task.trainer.world_size == 1
            settings, command = config(run.folder)
            results = read_run_results(
                run.folder,
                config=settings,
                command=command,
                task_class=type(task),
                data=data,
                task=task if is_single else None,
            )
            write_page(run.report, [results])
    except Exception as error:
        # a finished run is worth more than its report
        log.warning(f"No report was written ({type(error).__name__}: {error}). Try: lightune report {run.folder}")
