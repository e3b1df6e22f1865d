"""A finished run's model, asked for predictions outside of a Trainer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.generation import BaseStreamer

from lightune.data.preprocessors.base import Preprocessor, encode
from lightune.runs.explain import Explanation, explain
from lightune.runs.serve.worker import Row
from lightune.tasks import Task
from lightune.tasks.batch import Batch
from lightune.tasks.generation import Generation


class Model:
    """What ``lightune predict`` and ``lightune explain`` say of texts; for one thread at a time.

    Args:
        task: of a finished run, on the device that is to compute, its weights in float32.
        preprocessor: of the same run.
        precision: as Lightning's Trainer takes it.
    """

    def __init__(self, *, task: Task, preprocessor: Preprocessor, precision: str) -> None:
        self._task = task.eval()
        self._preprocessor = preprocessor
        self._dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
        if precision.startswith("16") and task.device.type == "cuda":
            self._dtype = torch.float16

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return what ``predict_step`` says of each row.

        Raises:
            UserError: a row is none that the run can read.
        """
        with self._computing():
            predictions: list[dict[str, Any]] = self._task.predict_step(self._batch(rows), 0)
        return predictions

    def explain(self, row: Row, *, target: str | None) -> list[Explanation]:
        """See :func:`lightune.runs.explain.explain`."""
        return explain(self._task, self._preprocessor, row, target=target)

    def stream(self, row: Row, tell: Callable[[str], None]) -> None:
        """Write a text, and tell after each token all that is written; with beams, which change their mind, at the end.

        What ``tell`` raises ends the writing.
        """
        task = self._task
        assert isinstance(task, Generation)
        with self._computing():
            beams = (task.model.generation_config.num_beams or 1) > 1
            streamer = None if beams else _Streamer(task.decode, tell)
            tell(task.generate(self._batch([row]), streamer=streamer)[0])

    def _batch(self, rows: Sequence[Row]) -> Batch:
        columns = dict(zip(self._preprocessor.input_columns, map(list, zip(*rows, strict=True)), strict=True))
        batch: Batch = self._preprocessor.collate(encode(self._preprocessor, columns))
        return {
            name: value.to(self._task.device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }

    @contextmanager
    def _computing(self) -> Iterator[None]:
        mixed = self._dtype != torch.float32
        with torch.no_grad(), torch.autocast(self._task.device.type, dtype=self._dtype, enabled=mixed):
            yield


class _Streamer(BaseStreamer):  # type: ignore[misc]
    """Decode all tokens anew at each: of an uncased vocabulary a later one may change what is before it."""

    def __init__(self, decode: Callable[[Tensor], list[str]], tell: Callable[[str], None]) -> None:
        self._decode = decode
        self._tell = tell
        self._ids: list[int] | None = None

    def put(self, value: Tensor) -> None:
        """Take a token; what comes first is what the text starts from."""
        if self._ids is None:
            self._ids = []
            return
        self._ids += value.flatten().tolist()
        self._tell(self._decode(torch.tensor([self._ids]))[0].rstrip("\ufffd"))  # half a character

    def end(self) -> None:
        """Do nothing: ``generate`` returns the text."""
