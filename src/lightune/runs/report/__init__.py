"""``report.html``: a run's results for a person to read, in one file that needs no network."""

import logging

from lightune.data import DataModule
from lightune.runs.report.predictions import Row, write_rows
from lightune.runs.run_folder import Run
from lightune.tasks import Task

log = logging.getLogger(__name__)


def report_finished(run: Run, rows: dict[str, list[Row]], *, data: DataModule, task: Task, page: bool) -> None:
    """Write the predictions of held-out rows after training, and ``report.html`` where ``page``; on an error, warn and continue.

    ``run`` has its ``metrics.json``; ``rows`` are the task's ``all_rows``, by stage.
    """
    try:
        write_rows(run.predictions, rows["test"], data=data)
        write_rows(run.validation_predictions, rows["val"], data=data, split="validation")
        if page:
            # importing matplotlib takes a second
            from lightune.runs.report.page import write_page
            from lightune.runs.report.run_results import read_run_results

            # other processes would wait, or hold a share of the weights
            alone = task if task.trainer.world_size == 1 else None
            write_page(run.report, [read_run_results(run.folder, task_class=type(task), data=data, task=alone)])
    except Exception as error:
        # a finished run is worth more than its report
        log.warning(f"No report was written ({type(error).__name__}: {error}). Try: lightune report {run.folder}")
