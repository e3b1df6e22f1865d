"""Predict any number of rows: in chunks, in batches of similar length, with results in the order of the rows."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from pyarrow.lib import ArrowException

from lightune.common.errors import UserError
from lightune.data.batches.sampler import held_out_batches
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.sources.stream import InputRow, RejectedRow
from lightune.runs.inference import Features, Predictor, encode_rows

# batches in a chunk where one takes seconds, or somebody waits at the screen
SMALL_CHUNK = 8
# a chunk of long texts has fewer rows
CHUNK_CHARACTERS = 2**24
# how an error names the only row of its data
PLACE = re.compile(r"^(The predict split(, row 1,)?|Text 1) ")


def predict(
    predictor: Predictor,
    rows: Iterator[InputRow | RejectedRow],
    *,
    batch_size: int,
    chunk_rows: int,
    on_batch: Callable[[int, float], None] = lambda rows, share: None,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[list[InputRow | RejectedRow]]:
    """Yield one chunk of rows after the other; their values are all their columns, and the predictions.

    A column that has the name of a prediction is called ``NAME_input``, unless all hold what is predicted.

    Memory does not grow with the number of rows. Where a chunk ends depends on its rows alone, so a prediction that is
    resumed after a chunk gives the same results as an uninterrupted one.

    Args:
        predictor: the run's model.
        rows: read one chunk at a time.
        batch_size: rows in a batch; fewer where a row becomes several windows.
        chunk_rows: rows that are read, and sorted by length, together.
        on_batch: is called after each batch with its number of rows and the share of the file that is done, 0 to 1.
        warn: is told once of each column that is called otherwise.
    """
    share, warn_once = 0.0, cache(warn)
    while chunk := _next_chunk(rows, chunk_rows):
        results, features = _encode_chunk(predictor.preprocessor, chunk)
        predictions: dict[int, dict[str, Any]] = {}
        done = len(chunk) - len(features)
        max_length = max(1, getattr(predictor.preprocessor, "max_length", 0))
        for batch in _batches(features, batch_size=batch_size, max_length=max_length):
            predicted = predictor.predict_encoded([features[index] for index in batch])
            predictions |= zip(batch, predicted, strict=True)
            done += len(batch)
            on_batch(len(batch), share + (chunk[-1].share - share) * done / len(chunk))
        share = chunk[-1].share
        # a file that this run has written has its predictions already
        given: dict[int, Any] = {index: chunk[index] for index in predictions}
        is_again = all(predictions[index].items() <= row.columns.items() for index, row in given.items())
        for index, row in given.items():
            values = row.columns | row.values
            kept = values if is_again else _renamed(values, predictions[index], warn_once)
            results[index] = replace(row, values=kept | predictions[index])
        yield results


def _renamed(columns: dict[str, Any], prediction: dict[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """Return a row's columns, under other names where a prediction has theirs."""
    # a table calls the parts of a prediction so
    parts = {f"{name}.{part}" for name, value in prediction.items() if isinstance(value, dict) for part in value}
    predicted, renamed = prediction.keys() | parts, {}
    for name, value in columns.items():
        new = name
        while new in predicted or (new != name and new in columns):
            new += "_input"
        if new != name:
            warn(f"warning: {name} is predicted, so the input's column of that name is called {new}")
        renamed[new] = value
    return renamed


def _next_chunk(rows: Iterator[InputRow | RejectedRow], size: int) -> list[InputRow | RejectedRow]:
    chunk: list[InputRow | RejectedRow] = []
    characters = 0
    while len(chunk) < size and characters < CHUNK_CHARACTERS and (row := next(rows, None)) is not None:
        chunk.append(row)
        characters += len(row.raw)
    return chunk


def _encode_chunk(
    preprocessor: Preprocessor, chunk: list[InputRow | RejectedRow]
) -> tuple[list[InputRow | RejectedRow], dict[int, Features]]:
    """Return the chunk with unreadable rows rejected, and the features of the others by their index."""
    results, encoded = list(chunk), {}
    # Arrow wants one type in a column
    by_types: dict[Any, list[int]] = defaultdict(list)
    for index, row in enumerate(chunk):
        if isinstance(row, InputRow):
            by_types[tuple(map(type, row.values.values()))].append(index)
    for indices in by_types.values():
        rows: Any = [chunk[index] for index in indices]
        for index, result in zip(indices, _encode(preprocessor, rows), strict=True):
            if isinstance(result, RejectedRow):
                results[index] = result
            else:
                encoded[index] = result
    return results, encoded


def _encode(preprocessor: Preprocessor, rows: list[InputRow]) -> list[Features | RejectedRow]:
    """Return the features of each row; on an error, halve the rows until the faulty ones are alone."""
    try:
        return [*encode_rows(preprocessor, [[row.values[name] for name in preprocessor.input_columns] for row in rows])]
    except (UserError, ArrowException, OverflowError) as error:
        if len(rows) > 1:
            middle = len(rows) // 2
            return _encode(preprocessor, rows[:middle]) + _encode(preprocessor, rows[middle:])
        reason, row = PLACE.sub("", str(error)), rows[0]
        return [RejectedRow(line=row.line, raw=row.raw, reason=reason, share=row.share)]


def _batches(features: dict[int, Features], *, batch_size: int, max_length: int) -> Iterator[list[int]]:
    """Yield the indices of rows of similar length, longest first, within the budget of rows and tokens."""
    if not features:
        return
    lengths = np.array([row["length"] for row in features.values()])
    order = np.argsort(lengths, kind="stable")
    indices = np.array(list(features))[order]
    # a short row counts as one window, which bounds the number of rows too
    lengths = np.maximum(lengths[order], max_length)
    batches = held_out_batches(lengths, batch_size=batch_size, max_tokens=batch_size * max_length)
    for batch in reversed(batches):
        yield indices[batch].tolist()
