"""Predictions for rows without end: a chunk at a time, batches of like length, results in the order of the rows."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import Fabric
from pyarrow.lib import ArrowException
from torch import Tensor

from lightune.common.errors import UserError
from lightune.data.batches.sampler import held_out_batches
from lightune.data.preprocessors.base import Preprocessor, encode
from lightune.data.sources.stream import InputRow, RejectedRow
from lightune.tasks import Task

CHUNK_CHARACTERS = 2**24  # a chunk of long texts has fewer rows
WHERE = re.compile(r"^(The predict split(, row 1,)?|Text 1) ")  # of a chunk of one row


def predict(
    task: Task,
    preprocessor: Preprocessor,
    rows: Iterator[InputRow | RejectedRow],
    *,
    precision: Any,
    batch_size: int,
    chunk_rows: int,
    on_batch: Callable[[int, float], None] = lambda rows, share: None,
) -> Iterator[list[InputRow | RejectedRow]]:
    """Yield chunk after chunk of rows, with what was predicted among their values; nothing of a former chunk is kept.

    Where chunks end depends on the rows alone, so that a run that goes on at such an end gives what one in one go gives.

    Args:
        task: with the weights to predict with.
        preprocessor: of the task.
        rows: no more of them are taken than the chunk needs that is asked for.
        precision: as Lightning takes it.
        batch_size: rows at a time; of rows that become several windows fewer, for as many tokens.
        chunk_rows: rows that are read, and sorted by length, together.
        on_batch: is told after each batch its rows, and the share of the file that is done.
    """
    fabric = Fabric(devices=1, precision=precision)
    fabric.setup_module(task.eval())
    done = 0.0
    while chunk := _next_chunk(rows, chunk_rows):
        found, encoded = _encode_all(preprocessor, chunk)
        predicted = len(chunk) - len(encoded)
        for batch in _batches(
            encoded, batch_size=batch_size, max_length=getattr(preprocessor, "max_length", 0)
        ):
            features = [encoded[index] for index in batch]
            inputs = preprocessor.collate(features, few_widths=fabric.device.type == "cpu")
            inputs = {
                name: value.to(fabric.device) if isinstance(value, Tensor) else value
                for name, value in inputs.items()
            }
            with fabric.autocast(), torch.inference_mode():
                predictions: Any = task.predict_step(inputs, 0)
            for index, prediction in zip(batch, predictions, strict=True):
                row: Any = chunk[index]
                found[index] = replace(row, values=row.values | prediction)
            predicted += len(batch)
            on_batch(len(batch), done + (chunk[-1].share - done) * predicted / len(chunk))
        done = chunk[-1].share
        yield found


def _next_chunk(rows: Iterator[InputRow | RejectedRow], size: int) -> list[InputRow | RejectedRow]:
    chunk: list[InputRow | RejectedRow] = []
    characters = 0
    while len(chunk) < size and characters < CHUNK_CHARACTERS and (row := next(rows, None)) is not None:
        chunk.append(row)
        characters += len(row.raw)
    return chunk


def _encode_all(
    preprocessor: Preprocessor, chunk: list[InputRow | RejectedRow]
) -> tuple[list[InputRow | RejectedRow], dict[int, dict[str, Any]]]:
    """Return the chunk, with those rejected that the task cannot read, and the features of the others by their index."""
    found, encoded = list(chunk), {}
    alike: dict[Any, list[int]] = defaultdict(list)  # a column of Arrow's is of one type
    for index, row in enumerate(chunk):
        if isinstance(row, InputRow):
            alike[tuple(type(value) for value in row.values.values())].append(index)
    for indices in alike.values():
        rows: Any = [chunk[index] for index in indices]
        for index, result in zip(indices, _encode(preprocessor, rows), strict=True):
            if isinstance(result, RejectedRow):
                found[index] = result
            else:
                encoded[index] = result
    return found, encoded


def _encode(preprocessor: Preprocessor, rows: list[InputRow]) -> list[dict[str, Any] | RejectedRow]:
    """Return the features of each row; where some are refused, halves are tried until these stand alone."""
    columns = {column: [row.values[column] for row in rows] for column in preprocessor.input_columns}
    try:
        return [*encode(preprocessor, columns)]
    except (UserError, ArrowException, OverflowError) as error:
        if len(rows) > 1:
            half = len(rows) // 2
            return _encode(preprocessor, rows[:half]) + _encode(preprocessor, rows[half:])
        reason, row = WHERE.sub("", str(error)), rows[0]
        return [RejectedRow(line=row.line, raw=row.raw, reason=reason, share=row.share)]


def _batches(encoded: dict[int, dict[str, Any]], *, batch_size: int, max_length: int) -> Iterator[list[int]]:
    """Yield the indices of rows of like length, the longest first: no batch has more rows or tokens than fit."""
    if not encoded:
        return
    lengths = np.array([features["length"] for features in encoded.values()])
    order = np.argsort(lengths, kind="stable")
    indices = np.array(list(encoded))[order]
    counted = np.maximum(
        lengths[order], max(1, max_length)
    )  # a short row counts as a window, so rows are bounded too
    budget = batch_size * max(1, max_length)
    for batch in reversed(held_out_batches(counted, batch_size=batch_size, max_tokens=budget)):
        yield indices[batch].tolist()
