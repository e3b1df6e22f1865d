"""Long texts as overlapping windows of tokens, several for a row; and where tokens lie in their texts."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from transformers import BatchEncoding

from lightune.common.errors import UserError


def check_stride(doc_stride: int, *, max_length: int, room: int, suggested: int) -> None:
    """Raise a UserError if windows would share all the tokens that they have room for."""
    if not 0 <= doc_stride < room:
        raise UserError(
            f"data.doc_stride={doc_stride}: with data.max_length={max_length} windows can share "
            f"0 to {room - 1} tokens.\nSet for example data.doc_stride={suggested}"
        )


def group_by_row(
    windows: Mapping[str, Sequence[Any]], owners: Sequence[int], *, num_rows: int
) -> dict[str, list[list[Any]]]:
    """Return columns of windows as columns of rows, each with a list of its windows.

    ``owners`` is the row of each window, ascending: a tokenizer's ``overflow_to_sample_mapping``.
    """
    bounds = np.searchsorted(owners, range(num_rows + 1))
    return {name: [[*values[start:end]] for start, end in pairwise(bounds)] for name, values in windows.items()}


def ungroup(rows: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a dictionary a window, from rows that have a list of windows under each name."""
    return [
        dict(zip(names, window, strict=True))
        for row in rows
        for window in zip(*(row[name] for name in names), strict=True)
    ]


class Place(NamedTuple):
    """Characters of one of a row's texts; ``text`` is 0, or 1 for the second of a pair, and ``end`` exclusive."""

    text: int
    start: int
    end: int


def locate_tokens(encoded: BatchEncoding) -> list[list[Place | None]]:
    """Return the place of each token of each window, from ``offset_mapping``; None for a token without characters."""
    return [
        [
            Place(text, start, end) if text is not None and start < end else None
            for text, (start, end) in zip(encoded.sequence_ids(window), offsets, strict=True)
        ]
        for window, offsets in enumerate(encoded["offset_mapping"])
    ]
