"""An ONNX model in int8, measured beside the one in float32: size, speed, and scores on held-out rows."""

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from lightune.runs.export.onnx import open_session, run, without_warnings
from lightune.runs.score_table import overall
from lightune.tasks import Task
from lightune.tasks.batch import Batch, pool_windows

ORDER = ("float32", "int8", "int8", "float32")
"""In which a batch is computed: the quicker of two times counts, as the first at a width is slower."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on the held-out rows."""

    size: int
    """Bytes of the file."""

    seconds: float
    """Of all batches together."""

    figures: dict[str, float]
    """The loss and the task's metrics, named as ``test/f1``."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on the same rows of test, batches computed in turn in one process."""

    rows: int
    float32: Measured
    int8: Measured

    @property
    def times_as_fast(self) -> float:
        return self.float32.seconds / self.int8.seconds

    def table(self) -> list[tuple[str, ...]]:
        """Return rows of name, float32 and int8: size, speed, scores."""
        both, names = (self.float32, self.int8), overall(self.float32.figures)
        return [
            ("size", *(f"{model.size / 1e6:.1f} MB" for model in both)),
            ("rows a second", *(f"{self.rows / model.seconds:.1f}" for model in both)),
            *((name, *(f"{model.figures[f'test/{name}']:.4f}" for model in both)) for name in names),
        ]


def quantize(model: Path, task: Task, batches: Iterable[Batch]) -> Comparison:
    """Replace an ONNX model by one with weights in int8, and compare both.

    Each output of a layer has its own scale; activations are rounded as they are computed. Matrices and embeddings shrink
    to a quarter; layer norms, softmax and the products of attention stay in float32. Source: onnxruntime's dynamic
    quantization.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    float32 = model.with_name("float32.onnx")
    model.rename(float32)
    with without_warnings():  # it advises a step that only models of other exporters need
        quantize_dynamic(float32, model, weight_type=QuantType.QInt8, per_channel=True)
    comparison = compare(task, batches, float32=float32, int8=model)
    for file in model.parent.glob("float32.onnx*"):
        file.unlink()
    return comparison


def compare(task: Task, batches: Iterable[Batch], *, float32: Path, int8: Path) -> Comparison:
    """Measure two ONNX files on the same batches of labelled held-out rows, by the task's metrics."""
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
            output = outputs[0] if len(outputs) == 1 else torch.stack(outputs, dim=-1)
            logits[name] = pool_windows(output, batch)
        for name, split in held_out.items():
            seconds[name] += min(times[name])
            loss, targets = task.loss(logits[name], batch)
            split.loss.update(loss, weight=targets)
            task.update(split.metrics, logits[name], batch)
        rows += len(batch["rows"] if "rows" in batch else batch["labels"])
    measured = {}
    for name, file in files.items():
        figures = {figure: float(value) for figure, value in held_out[name].scalars().items()}
        measured[name] = Measured(size=file.stat().st_size, seconds=seconds[name], figures=figures)
    return Comparison(rows=rows, **measured)
