"""Calibrate the best checkpoint on validation: all that read it get its probabilities and thresholds."""

import logging
import os

import numpy as np
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightune.models.heads import ClsPooling
from lightune.models.label_rows import output_layer
from lightune.models.model_with_head import ModelWithHead
from lightune.runs.checkpoint_io import CheckpointIO
from lightune.runs.report.predictions import Row
from lightune.runs.report.statistics import reliability
from lightune.runs.run_folder import Run
from lightune.tasks import Task
from lightune.tasks.calibration import rescale

log = logging.getLogger(__name__)


def calibrate(trainer: Trainer, task: Task, run: Run) -> bool:
    """Calibrate ``best.ckpt``, which has just been validated, and return whether it has changed.

    Its output layer is divided by the temperature, and so are its logits. Every rank must call this.
    """
    # a resumed run may find no better one than that of before
    if task.calibration is not None:
        return False
    name, layer = output_layer(task.model) or ("", None)
    # what comes after the layer in a head of one's own nobody knows
    is_own = isinstance(task.model, ModelWithHead) and not isinstance(task.model.classifier, ClsPooling)
    has_temperature = layer is not None and layer.weight.requires_grad and not is_own
    if (calibration := task.fit_calibration(task.all_rows("val"), has_temperature=has_temperature)) is None:
        return False
    if not has_temperature:
        rank_zero_only(log.info)("No trained layer is known to scale the logits of this head: no temperature")
    if trainer.is_global_zero:
        checkpoint, times = run.best_checkpoint(), run.best.stat()
        for key in {f"model.{name}.weight", f"model.{name}.bias"} & checkpoint["state_dict"].keys():
            checkpoint["state_dict"][key] /= calibration["temperature"]
        CheckpointIO().save_checkpoint(checkpoint | {"calibration": calibration}, run.best)
        # a run is resumed from its newest
        os.utime(run.best, ns=(times.st_atime_ns, times.st_mtime_ns))
    trainer.strategy.barrier()
    return True


def calibration_figures(task: Task, rows: list[Row]) -> dict[str, float]:
    """Return what a task was calibrated with, and of one label a row the calibration error of the test rows before."""
    if task.calibration is None:
        return {}
    figures = {"calibration/temperature": task.calibration["temperature"]}
    if (thresholds := task.calibration.get("thresholds")) is not None:
        return figures | {f"calibration/threshold/{n}": t for n, t in zip(task.label_names, thresholds, strict=True)}
    before = rescale(np.array([row["probabilities"] for row in rows]), 1 / figures["calibration/temperature"])
    correct = np.array([row["true"] == row["predicted"] for row in rows])
    return figures | {"calibration/error_before": reliability(before.max(axis=1), correct).error}
