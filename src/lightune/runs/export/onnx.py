"""A run's model as ONNX: one graph for any number of rows and tokens, which onnxruntime runs without PyTorch."""

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightune.common.errors import UserError
from lightune.data.preprocessors.base import Preprocessor, encode
from lightune.tasks import Task, tasks_that
from lightune.tasks.batch import Batch, inputs
from lightune.tuning.lora import merge

TOLERANCE = 1e-4  # of logits, as a share of the largest where that is above 1
WORDS = (3, 1, 7, 12, 20, 33, 60, 90)  # of the rows on which both are compared
PROVIDERS = ["CPUExecutionProvider"]
INSTEAD = "Export it for transformers: --format hf"


def check_exportable(task: Task) -> None:
    """Raise a UserError that says why a task's model is of no use as a graph."""
    if not task.onnx_outputs:
        reason = (
            "a graph without the memory of the tokens before is of little use where text is generated"
            if task.streams
            else "its class names no outputs for a graph (Task.onnx_outputs)"
        )
        raise UserError(
            f"--format onnx is for {tasks_that(lambda other: bool(other.onnx_outputs))}. "
            f"This run is {type(task).__name__}:\n{reason}.\n{INSTEAD}"
        )


def export_onnx(task: Task, preprocessor: Preprocessor, *, file: Path) -> float:
    """Write the model in float32, its adapters merged in place, and compare it with PyTorch on rows of mixed lengths.

    Weights lie in the file; only those of models above 2 GB, which ONNX cannot hold in one, lie beside it.

    Returns:
        The largest difference of a logit, as a share of the largest logit where that is above 1.

    Raises:
        UserError: torch cannot export this architecture, or the graph computes something else.
    """
    merge(task.model)
    task.to(device="cpu", dtype=torch.float32).eval()
    examples = inputs(_batch(preprocessor, WORDS[:3]))
    graph = _Graph(task.model, list(examples), task.onnx_outputs)
    try:
        with torch.no_grad(), without_warnings():  # they are of torch to itself
            program = torch.onnx.export(
                graph,
                tuple(examples.values()),
                dynamo=True,
                input_names=list(examples),
                output_names=list(task.onnx_outputs),
                dynamic_shapes=(({0: "batch", 1: "length"},) * len(examples),),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"torch cannot export {type(task.model).__name__} to ONNX: {_cause(error)}\n{INSTEAD}"
        ) from error
    assert program is not None
    program.save(file)
    batches = [_batch(preprocessor, words) for words in (WORDS, WORDS[1:2], WORDS[3:])]
    return check_parity(graph, file, batches)


def check_parity(graph: nn.Module, file: Path, batches: list[Batch]) -> float:
    """Return the largest difference of the file's logits from PyTorch's; UserError above ``TOLERANCE``."""
    session = open_session(file)
    worst = 0.0
    for batch in batches:
        with torch.no_grad():
            expected = graph(*inputs(batch).values())
        for ours, theirs in zip(expected, run(session, batch), strict=True):
            largest = max(1.0, float(ours.abs().max()))
            difference = float((ours - theirs).abs().max()) / largest
            worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    if worst > TOLERANCE:
        raise UserError(
            f"The ONNX model's logits are not PyTorch's: they differ by {worst:.1e}, more than {TOLERANCE:.0e}. "
            f"Nothing was written.\n{INSTEAD}"
        )
    return worst


def open_session(file: Path) -> Any:
    """Load an ONNX file into onnxruntime, on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(file, providers=PROVIDERS)


def run(session: Any, batch: Batch) -> list[Tensor]:
    """Return a session's outputs for a batch, in their order."""
    feeds = {node.name: batch[node.name].numpy() for node in session.get_inputs()}
    return [torch.from_numpy(output) for output in session.run(None, feeds)]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence a library's warnings that nobody can act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class _Graph(nn.Module):
    """The model as a function of tensors alone, inputs and outputs in the order of their names."""

    def __init__(self, model: nn.Module, inputs: list[str], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.outputs = outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(outputs[name] for name in self.outputs)


def _batch(preprocessor: Any, words: tuple[int, ...]) -> Batch:
    """Return rows of that many words of the vocabulary each, as the run's own preprocessor reads them."""
    rng = random.Random(0)
    known = sorted(word for word in preprocessor.tokenizer.get_vocab() if word.isalpha()) or ["a"]
    rows = {column: [" ".join(rng.choices(known, k=count)) for count in words] for column in preprocessor.input_columns}
    batch: Batch = preprocessor.collate(encode(preprocessor, rows))
    return batch


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
