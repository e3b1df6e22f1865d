"""Rows of uneven length as one tensor."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

WIDTHS = np.array([*range(8), *(width << octave for octave in range(24) for width in range(8, 16))])
"""All widths that batches have where they have few: each up to 16, every 2nd up to 32, every 4th up to 64, …"""


def padded_width(longest: int, *, max_width: int, few_widths: bool) -> int:
    """Return how many columns a batch gets.

    A CPU's kernels are compiled for a width, and memory grows with each new width, though few kernels are kept
    (``lightune.models.cpu.speed_up``). Few widths bound that growth. A batch becomes less than an eighth
    wider, 2 % on average, and never wider than ``max_width``, which a model can read and no row exceeds.
    """
    return min(int(round_up(np.array(longest))), max_width) if few_widths else longest


def round_up(lengths: np.ndarray) -> np.ndarray:
    """Return the smallest of ``WIDTHS`` that holds each length."""
    return WIDTHS[np.searchsorted(WIDTHS, lengths)]


def windows_and_widths(rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return how many windows each row has, 1 where it is not in windows, and the tokens of all their ``input_ids``."""
    ids = rows.data.column("input_ids")
    sizes = np.asarray(pc.list_value_length(ids))
    in_windows = pa.types.is_nested(ids.type.value_type)
    return (sizes, np.asarray(rows.data.column("length"))) if in_windows else (np.ones_like(sizes), sizes)


def padded_lengths(rows: Dataset, *, max_length: int) -> np.ndarray:
    """Return the most tokens that each row may take in a batch: of several windows all but the last are full."""
    windows, lengths = windows_and_widths(rows)[0], np.asarray(rows.data.column("length"))
    return np.where(windows > 1, windows * max_length, round_up(lengths))


def pad(rows: list[list[int]], *, value: int, max_width: int, few_widths: bool) -> Tensor:
    """Return rows of numbers as one tensor (rows, width), padded with a value on the right."""
    columns = padded_width(max(map(len, rows)), max_width=max_width, few_widths=few_widths)
    return torch.tensor([row + [value] * (columns - len(row)) for row in rows], dtype=torch.long)


def pad_inputs(
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    *,
    max_width: int,
    few_widths: bool,
    side: str = "right",
    **padding_values: int,
) -> dict[str, Any]:
    """Return the model's inputs in rows of features, and ``special_tokens_mask``, as tensors (rows, width).

    Values of other names, such as ``labels=-100``, pad what else the rows have for each token. The tokenizer knows its
    inputs and the padding value of each. Its own side of padding is not asked: on the left, GPT-2 and BERT would give a
    row other positions in each batch.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    width = padded_width(longest, max_width=max_width, few_widths=few_widths)
    names = {*tokenizer.model_input_names, "special_tokens_mask"}
    inputs = [{name: values for name, values in row.items() if name in names} for row in rows]
    padding: dict[str, Any] = {"padding": "max_length", "max_length": width, "padding_side": side}
    batch = dict(tokenizer.pad(inputs, **padding, return_tensors="pt"))
    for name, value in padding_values.items():
        if name in rows[0]:
            batch[name] = pad([row[name] for row in rows], value=value, max_width=width, few_widths=few_widths)
    return batch
