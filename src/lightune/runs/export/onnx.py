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
from lightune.tasks import QuestionAnswering, Task, TextClassification, TokenClassification
from lightune.tasks.batch import Batch, inputs
from lightune.tuning.lora import merge

OUTPUTS: dict[type[Task], list[str]] = {
    TextClassification: ["logits"],
    TokenClassification: ["logits"],
    QuestionAnswering: ["start_logits", "end_logits"],
}
"""What the graph of a task gives."""

TOLERANCE = 1e-4  # of logits, as a share of the largest where that is above 1
WORDS = (3, 1, 7, 12, 20, 33, 60, 90)  # of the rows on which both are compared
PROVIDERS = ["CPUExecutionProvider"]


def output_names(task: Task) -> list[str]:
    """Return what the graph of a task gives.

    Raises:
        UserError: this is no task for a graph alone.
    """
    for kind, names in OUTPUTS.items():
        if isinstance(task, kind):
            return names
    raise UserError(
        f"--format onnx is for text classification, token classification and question answering; this run is {type(task).__name__}:\n"
        "a graph without the memory of the tokens before is of little use where text is written.\n"
        "Export it for transformers: --format hf"
    )


def export_onnx(task: Task, preprocessor: Preprocessor, *, file: Path) -> float:
    """Write the model in float32, and compare it with PyTorch on rows of mixed lengths.

    Weights lie in the file; only those of models above 2 GB, which ONNX cannot hold in one, lie beside it.

    Args:
        task: with its weights; its adapters are merged in place.
        preprocessor: of the task, makes the rows on which both are compared.
        file: where to.

    Returns:
        The largest difference of a logit, as a share of the largest logit where that is above 1.

    Raises:
        UserError: torch cannot export this architecture, or the graph computes something else.
    """
    names = output_names(task)
    merge(task.model)
    task.to(device="cpu", dtype=torch.float32).eval()
    examples = _batch(preprocessor, WORDS[:3])
    given = list(inputs(examples))
    graph = _Graph(task.model, given, names)
    try:
        with torch.no_grad(), without_warnings():  # they are of torch to itself
            program = torch.onnx.export(
                graph,
                tuple(inputs(examples).values()),
                dynamo=True,
                input_names=given,
                output_names=names,
                dynamic_shapes=(({0: "batch", 1: "length"},) * len(given),),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"torch cannot export {type(task.model).__name__} to ONNX: {_cause(error)}\n"
            "Export it for transformers: --format hf"
        ) from error
    assert program is not None
    program.save(file)
    return check_parity(
        graph, file, [_batch(preprocessor, words) for words in (WORDS, WORDS[1:2], WORDS[3:])]
    )


def check_parity(graph: nn.Module, file: Path, batches: list[Batch]) -> float:
    """Return the largest difference between the file's logits and PyTorch's, see :func:`export_onnx`.

    Raises:
        UserError: it is above ``TOLERANCE``.
    """
    session = open_session(file)
    worst = 0.0
    for batch in batches:
        with torch.no_grad():
            wanted = graph(*inputs(batch).values())
        for ours, theirs in zip(wanted, run(session, batch), strict=True):
            largest = max(1.0, float(ours.abs().max()))
            difference = float((ours - theirs).abs().max()) / largest
            worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    if worst > TOLERANCE:
        raise UserError(
            f"The ONNX model's logits are not PyTorch's: they differ by {worst:.1e}, more than {TOLERANCE:.0e}. Nothing was written.\n"
            "Export it for transformers: --format hf"
        )
    return worst


def open_session(file: Path) -> Any:
    """Load an ONNX file into onnxruntime, on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(file, providers=PROVIDERS)


def run(session: Any, batch: Batch) -> list[Tensor]:
    """Return what a session gives for a batch, in the order of its outputs."""
    given = {one.name: batch[one.name].numpy() for one in session.get_inputs()}
    return [torch.from_numpy(output) for output in session.run(None, given)]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence a library that warns of what nobody can act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class _Graph(nn.Module):
    """The model with nothing but tensors: in the order of their names in, in that of theirs out."""

    def __init__(self, model: nn.Module, given: list[str], names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.given = given
        self.names = names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(**dict(zip(self.given, tensors, strict=True)))
        return tuple(outputs[name] for name in self.names)


def _batch(preprocessor: Any, words: tuple[int, ...]) -> Batch:
    """Return rows of so many words of the vocabulary each, as the run's own preprocessor makes them."""
    rng = random.Random(0)
    known = sorted(word for word in preprocessor.tokenizer.get_vocab() if word.isalpha()) or ["a"]
    rows = {
        column: [" ".join(rng.choices(known, k=count)) for count in words]
        for column in preprocessor.input_columns
    }
    batch: Batch = preprocessor.collate(encode(preprocessor, rows))
    return batch


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
