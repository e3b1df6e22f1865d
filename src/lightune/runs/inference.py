"""Inference with a finished run: every command encodes rows, chooses the precision and runs the model through here."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Fabric, Trainer
from torch import Tensor

from lightune.data.preprocessors.base import Preprocessor, encode
from lightune.models.precision import resolve, trainer_arguments
from lightune.tasks import Task
from lightune.tasks.batch import Batch

Features = dict[str, Any]
"""An encoded row."""


def encode_rows(preprocessor: Preprocessor, rows: Sequence[Sequence[Any]]) -> list[Features]:
    """Encode rows that are not part of a data set, at least one; raise a UserError for one that the task cannot read.

    Each holds a value for every name in ``preprocessor.input_columns``, in that order.
    """
    columns = map(list, zip(*rows, strict=True))
    return encode(preprocessor, dict(zip(preprocessor.input_columns, columns, strict=True)))


def make_batch(
    preprocessor: Preprocessor, features: list[Features], *, device: torch.device, few_widths: bool = False
) -> Batch:
    """Collate encoded rows on a device; see ``lightune.data.batches.padding.padded_width`` for ``few_widths``."""
    batch = preprocessor.collate(features, few_widths=few_widths)
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def inference_trainer(precision: Any) -> Trainer:
    """Make the Trainer that evaluates a finished run, in a ``trainer.precision``: on one device, writing nothing."""
    return Trainer(
        devices=1,
        **trainer_arguments(precision, accelerator="auto"),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


class Predictor:
    """A finished run's model in eval mode, on one device; not thread-safe.

    Args:
        task: with the weights to predict with; moved to the device.
        preprocessor: the run's.
        precision: as Lightning's Trainer takes it, or ``auto``.
        few_widths: pad batches to few widths on a CPU, which bounds the memory of a long prediction.
    """

    def __init__(self, task: Task, preprocessor: Preprocessor, *, precision: Any, few_widths: bool = False) -> None:
        self.task = task.eval()
        self.preprocessor = preprocessor
        resolved: Any = resolve(precision, accelerator="auto")
        task.compress_frozen(resolved)
        self._fabric: Any = Fabric(devices=1, precision=resolved)
        self._fabric.setup_module(task)
        self._few_widths = few_widths and self._fabric.device.type == "cpu"

    def predict(self, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """Return the task's prediction for each row, or raise a UserError for a row that the task cannot read."""
        return self.predict_encoded(encode_rows(self.preprocessor, rows))

    def predict_encoded(self, features: list[Features]) -> list[dict[str, Any]]:
        """Return the task's prediction for each encoded row."""
        with self.inference(features) as batch:
            predictions: list[dict[str, Any]] = self.task.predict_step(batch, 0)
        return predictions

    @contextmanager
    def inference(self, features: list[Features]) -> Iterator[Batch]:
        """Yield the batch of encoded rows, with autocast on and gradients off."""
        batch = make_batch(self.preprocessor, features, device=self._fabric.device, few_widths=self._few_widths)
        with torch.no_grad(), self._fabric.autocast():
            yield batch
