"""Save and print the results of a run."""

from collections.abc import Mapping
from pathlib import Path

from lightning import Trainer

from lightune.common.files import write_json
from lightune.data import DataModule
from lightune.runs.report import report_finished
from lightune.runs.report.predictions import Row
from lightune.runs.run_folder import Run
from lightune.runs.score_table import print_results
from lightune.tasks import Task
from lightune.training.calibrate import calibration_figures


def keep_best_checkpoint(trainer: Trainer, run: Run) -> None:
    """Give the best checkpoint of the fit the name ``best.ckpt``. Every rank must call this."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not best:
        # training stopped before its first validation
        trainer.save_checkpoint(run.best)
    elif trainer.is_global_zero:
        run.link_best(Path(best))
    trainer.strategy.barrier()


def save_results(
    run: Run, metrics: Mapping[str, float], rows: dict[str, list[Row]], *, data: DataModule, task: Task, report: bool
) -> None:
    """Write the metrics, the held-out rows' predictions and, where wanted, the report to the run's folder; print the metrics."""
    metrics = {**metrics, **calibration_figures(task, rows["test"])}
    write_json(run.metrics, dict(sorted(metrics.items())))
    if (matrix := task.confusion_matrix()) is not None:
        run.write_confusion_matrix(matrix, list(task.label_names))
    if signatures := task.signatures():
        write_json(run.signatures, signatures)
    report_finished(run, rows, data=data, task=task, page=report)
    print_results(run.folder, metrics, task=task)
