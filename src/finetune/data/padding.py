"""Rows of uneven length as one tensor."""

import torch
from torch import Tensor


def pad(rows: list[list[int]], *, value: int) -> Tensor:
    """Return rows of numbers as one tensor (rows, longest), filled up on the right."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
