"""Generated text, token by token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.generation import BaseStreamer

from lightune.runs.inference import Predictor, encode_rows
from lightune.runs.serve.worker import Row
from lightune.tasks.generation import Generation


def stream_text(predictor: Predictor, row: Row, send: Callable[[str], None]) -> None:
    """Generate a text, and send all of it after each token; beam search, which revises its text, only at the end.

    An exception from ``send`` stops the generation.

    Raises:
        UserError: the task cannot read the row.
    """
    task = predictor.task
    assert isinstance(task, Generation)
    beams = (task.model.generation_config.num_beams or 1) > 1
    streamer = None if beams else _Streamer(task.decode, send)
    with predictor.inference(encode_rows(predictor.preprocessor, [row])) as batch:
        send(task.generate(batch, streamer=streamer)[0])


@dataclass
class _Streamer(BaseStreamer):  # type: ignore[misc]
    """Decode all tokens again after each: with an uncased vocabulary a later token may change the text before it."""

    decode: Callable[[Tensor], list[str]]
    send: Callable[[str], None]
    ids: list[int] | None = None

    def put(self, value: Tensor) -> None:
        """Take a token; the first call brings the prompt, which is ignored."""
        if self.ids is None:
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        # an unfinished character is left out
        self.send(self.decode(torch.tensor([self.ids]))[0].rstrip("\ufffd"))

    def end(self) -> None:
        """Do nothing: ``generate`` returns the text."""
