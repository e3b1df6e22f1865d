"""Rows of uneven length as one tensor."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

AN_OCTAVE = 8  # widths between one and twice as wide
WIDTHS = np.array(
    [*range(AN_OCTAVE), *(part << octave for octave in range(24) for part in range(AN_OCTAVE, 2 * AN_OCTAVE))]
)
"""All widths that batches have where they have few: each up to 16, every 2nd up to 32, every 4th up to 64, …"""


def width(longest: int, *, most: int, few: bool) -> int:
    """Return how many columns a batch gets.

    A CPU's kernels are made for a width, and memory grows with each new one, though few are kept for use again
    (:func:`lightune.models.cpu.speed_up`). Few widths bound that; a batch becomes less than an eighth wider, 2 % on average.

    Args:
        longest: columns that its rows need.
        most: columns that no row exceeds, so that a model never reads more than it can.
        few: whether to round up to one of few widths.
    """
    return min(int(round_up(np.array(longest))), most) if few else longest


def round_up(lengths: np.ndarray) -> np.ndarray:
    """Return the smallest of the few widths that holds each length."""
    return WIDTHS[np.searchsorted(WIDTHS, lengths)]


def pad(rows: list[list[int]], *, value: int, most: int, few: bool) -> Tensor:
    """Return rows of numbers as one tensor (rows, width), filled up on the right."""
    columns = width(max(map(len, rows)), most=most, few=few)
    padded = torch.full((len(rows), columns), value)
    for filled, row in zip(padded, rows, strict=True):
        filled[: len(row)] = torch.tensor(row, dtype=torch.long)
    return padded


def pad_inputs(
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    *,
    most: int,
    few: bool,
    side: str | None = None,
) -> dict[str, Any]:
    """Return what a model reads of rows as tensors (rows, width).

    Args:
        tokenizer: knows what each input is filled up with.
        rows: with ``input_ids`` and the like.
        most: see :func:`width`.
        few: see :func:`width`.
        side: where to fill up, ``left`` or ``right``; None: the tokenizer's own.
    """
    columns = width(max(len(row["input_ids"]) for row in rows), most=most, few=few)
    batch = tokenizer.pad(
        rows, padding="max_length", max_length=columns, padding_side=side, return_tensors="pt"
    )
    return dict(batch)
