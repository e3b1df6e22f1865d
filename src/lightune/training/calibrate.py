"""Calibrate the best checkpoint on validation: all that read it get its probabilities and thresholds."""

import logging
import os
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp, softmax

from lightune.models.heads import ClsPooling
from lightune.models.label_rows import output_layer
from lightune.models.model_with_head import ModelWithHead
from lightune.runs.checkpoint_io import CheckpointIO
from lightune.runs.report.predictions import Row
from lightune.runs.report.statistics import reliability
from lightune.runs.run_folder import Run
from lightune.tasks import Task

# in place of 0, which has no logarithm
SMALLEST = 1e-30
# standard deviation of log T before any row is seen
PRIOR_DEVIATION = 0.5
# rows with a label, as all labels together have them, that are added to those of each
PRIOR_POSITIVES = 10
# evenly spaced in logits
CANDIDATES = expit(np.linspace(-5, 5, 101)).round(4)

log = logging.getLogger(__name__)


def calibrate(trainer: Trainer, task: Task, run: Run) -> bool:
    """Calibrate ``best.ckpt``, which has just been validated, and return whether it has changed.

    Its output layer is divided by the temperature, and so are its logits. Every rank must call this.
    """
    # a resumed run may find no better one than that of before
    rows = task.all_rows("val") if task.calibrate and task.calibration is None else []
    if not rows or "probabilities" not in rows[0]:
        return False
    name, layer = output_layer(task.model) or ("", None)
    # what comes after the layer in a head of one's own nobody knows
    is_own = isinstance(task.model, ModelWithHead) and not isinstance(task.model.classifier, ClsPooling)
    # a checkpoint of trained weights alone has no other layer to divide
    has_temperature = layer is not None and (task.strict_loading or layer.weight.requires_grad) and not is_own
    if not has_temperature:
        rank_zero_only(log.info)("No saved layer is known to scale the logits of this head: no temperature")
    calibration = fit(rows, has_temperature=has_temperature)
    if trainer.is_global_zero:
        checkpoint, times = run.best_checkpoint(), run.best.stat()
        for key in {f"model.{name}.weight", f"model.{name}.bias"} & checkpoint["state_dict"].keys():
            checkpoint["state_dict"][key] /= calibration["temperature"]
        CheckpointIO().save_checkpoint(checkpoint | {"calibration": calibration}, run.best)
        # a run is resumed from its newest
        os.utime(run.best, ns=(times.st_atime_ns, times.st_mtime_ns))
    trainer.strategy.barrier()
    return True


def fit(rows: list[Row], *, has_temperature: bool) -> dict[str, Any]:
    """Return ``temperature``, 1 without ``has_temperature``, and of several labels at once ``thresholds``."""
    probabilities, true = (np.array([row[name] for row in rows]) for name in ("probabilities", "true"))
    if has_several := true.ndim == 2:
        # two classes, of which float32 knows no smaller probability than this where the other is near 1
        probabilities = np.stack([1 - probabilities, probabilities], axis=-1).reshape(-1, 2).clip(1e-7)
    temperature = fit_temperature(probabilities, true.ravel()) if has_temperature else 1.0
    if not has_several:
        return {"temperature": temperature}
    thresholds = fit_thresholds(rescale(probabilities, temperature)[:, 1].reshape(true.shape), true)
    return {"temperature": temperature, "thresholds": thresholds}


def fit_temperature(probabilities: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature T that makes the ``true`` classes (rows,) likeliest, where logits are divided by T.

    ``probabilities`` are (rows, classes). A normal prior of log T keeps a few rows that are all right from making it 0.
    Source: Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    logits, rows = np.log(np.clip(probabilities, SMALLEST, 1)), np.arange(len(true))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        log_likelihood = (scaled[rows, true] - logsumexp(scaled, axis=1)).sum()
        return float((log_temperature / PRIOR_DEVIATION) ** 2 / 2 - log_likelihood)

    return round(float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)), 4)


def rescale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (rows, classes) of logits that are divided by a temperature."""
    scaled: np.ndarray = softmax(np.log(np.clip(probabilities, SMALLEST, 1)) / temperature, axis=1)
    return scaled


def fit_thresholds(probabilities: np.ndarray, true: np.ndarray) -> list[float]:
    """Return for each label the threshold with the highest F1, of equal ones the nearest to 0.5.

    Both are (rows, labels). The rarer a label, the more its F1 is that of all labels at one threshold: the best
    threshold on few rows is chance.
    """
    columns = zip(probabilities.T, true.T > 0, strict=True)
    above = [[(p[:, None] > CANDIDATES).sum(axis=0) for p in (of[has_it], of)] for of, has_it in columns]
    counts = [*np.array(above).swapaxes(0, 1), true.sum(axis=0)[:, None]]
    share = PRIOR_POSITIVES / max(1, true.sum())
    hits, predicted, positives = (count + share * count.sum(axis=0) for count in counts)
    f1 = 2 * hits / np.maximum(predicted + positives, 1)
    is_best = f1 >= f1.max(axis=1, keepdims=True) - 1e-9
    return [float(CANDIDATES[index]) for index in np.where(is_best, abs(CANDIDATES - 0.5), 1).argmin(axis=1)]


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
