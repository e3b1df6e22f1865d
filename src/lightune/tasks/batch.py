"""What a task is given, and what it says of each held-out row."""

from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Any]
"""The model's inputs as tensors, ``labels``, and ``rows``: what metrics and predictions need to know of each row."""

RowResult = dict[str, Any]
"""The prediction for a held-out row and how good it was: numbers, strings and lists, as JSON has them."""

NOT_INPUTS = {"labels", "rows", "row_numbers", "filler", "num_windows"}


def inputs(batch: Batch) -> dict[str, Tensor]:
    """Return the model's inputs in a batch."""
    return {name: tensor for name, tensor in batch.items() if name not in NOT_INPUTS}


def pool_windows(logits: Tensor, batch: Batch) -> Tensor:
    """Return the logits of rows, (rows, …): the mean of each row's windows, whose logits are given as (windows, …).

    A batch whose rows are not read in windows, without ``num_windows``, keeps its logits.
    """
    if "num_windows" not in batch:
        return logits
    return torch.stack([of_row.mean(dim=0) for of_row in torch.split(logits.float(), batch["num_windows"])])
