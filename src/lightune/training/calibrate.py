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
    # others may do anything with what a layer gives
    is_known = isinstance(getattr(task.model, "classifier", None), ClsPooling) or not isinstance(
        task.model, ModelWithHead
    )
    has_temperature = is_known and layer is not None and layer.weight.requires_grad
    calibration = task.fit_calibration(task.all_rows("val"), has_temperature=has_temperature)
    if calibration is None:
        return False
    if not has_temperature:
        rank_zero_only(log.info)("This head has no trained layer that is known to scale its logits: no temperature")
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
    temperature, thresholds = task.calibration["temperature"], task.calibration.get("thresholds", [])
    figures = {f"threshold/{name}": value for name, value in zip(task.label_names, thresholds, strict=False)}
    if not thresholds:
        before = rescale(np.array([row["probabilities"] for row in rows]), 1 / temperature)
        correct = np.array([row["true"] == row["predicted"] for row in rows])
        figures["error_before"] = reliability(before.max(axis=1), correct).error
    return {f"calibration/{name}": value for name, value in {"temperature": temperature, **figures}.items()}
