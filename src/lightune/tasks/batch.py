"""What a task is given, and what it says of each held-out row."""

from typing import Any

from torch import Tensor

Batch = dict[str, Any]
"""The model's inputs as tensors, ``labels``, and ``rows``: what metrics and predictions need to know of each row."""

RowResult = dict[str, Any]
"""The prediction for a held-out row and how good it was: numbers, strings and lists, as JSON has them."""

NOT_INPUTS = {"labels", "rows", "row_numbers", "filler"}


def inputs(batch: Batch) -> dict[str, Tensor]:
    """Return the model's inputs in a batch."""
    return {name: tensor for name, tensor in batch.items() if name not in NOT_INPUTS}
