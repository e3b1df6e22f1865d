"""An ONNX model in int8, measured beside the one in float32: size, speed, and what is lost on held-out rows."""

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from lightune.runs.export.onnx import open_session, run, without_warnings
from lightune.tasks import Task
from lightune.tasks.batch import Batch

ORDER = ("float32", "int8", "int8", "float32")
"""In which a batch is computed: the quicker of two times counts, as the first of a width meets it anew."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on the held-out rows."""

    size: int
    """Bytes of the file."""

    seconds: float
    """Of all batches together."""

    figures: dict[str, float]
    """The loss and the task's metrics, by their names alone."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The model before and after, on the same rows of test, batches computed in turn in one process."""

    rows: int
    float32: Measured
    int8: Measured

    @property
    def times_as_fast(self) -> float:
        return self.float32.seconds / self.int8.seconds

    @property
    def times_as_small(self) -> float:
        return self.float32.size / self.int8.size


def quantize_int8(source: Path, target: Path) -> None:
    """Write an ONNX model with weights in int8, a scale for each output; activations are rounded as they come.

    Source: onnxruntime's dynamic quantization. Matrices and embeddings become a quarter; layer norms, softmax and what
    attention multiplies stay in float32.

    Args:
        source: the model in float32.
        target: where to.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with without_warnings():  # it advises a step that only models of other exporters need
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def compare(task: Task, batches: Iterable[Batch], *, float32: Path, int8: Path) -> Comparison:
    """Measure two files on the same batches.

    Args:
        task: whose metrics are taken.
        batches: held-out rows, labelled.
        float32: the model before.
        int8: the model after.
    """
    files = {"float32": float32, "int8": int8}
    sessions = {name: open_session(file) for name, file in files.items()}
    held_out = {name: copy.deepcopy(task.test) for name in files}
    seconds = dict.fromkeys(files, 0.0)
    rows = 0
    for batch in batches:
        times: dict[str, list[float]] = {name: [] for name in files}
        logits = {}
        for name in ORDER:
            began = time.perf_counter()
            outputs = run(sessions[name], batch)
            times[name].append(time.perf_counter() - began)
            logits[name] = outputs[0] if len(outputs) == 1 else torch.stack(outputs, dim=-1)
        for name, split in held_out.items():
            seconds[name] += min(times[name])
            loss, targets = task.loss(logits[name], batch)
            split.loss.update(loss, weight=targets)
            task.update(split.metrics, logits[name], batch)
        rows += len(batch["rows"] if "rows" in batch else batch["labels"])
    measured = {
        name: Measured(
            size=file.stat().st_size,
            seconds=seconds[name],
            figures={
                figure.partition("/")[2]: float(value) for figure, value in held_out[name].scalars().items()
            },
        )
        for name, file in files.items()
    }
    return Comparison(rows=rows, float32=measured["float32"], int8=measured["int8"])
