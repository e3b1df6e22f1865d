"""The hidden states of a model's frozen lowest layers for each row, in a memory-mapped file."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightune.common.files import atomic_file

STATES_KEY = "trunk_states"
"""The name in a batch: (batch, length, hidden size)."""


class FrozenStates:
    """Hidden states in bfloat16, token by token, the rows one after the other.

    Args:
        path: of the file.
        lengths: tokens of each row, of all its windows together.
        order: of the rows in the file.
        width: hidden size.
    """

    def __init__(self, path: Path, *, lengths: np.ndarray, order: np.ndarray, width: int) -> None:
        self.path = path
        self.width = width
        self.ends = np.empty(len(lengths), dtype=np.int64)
        self.ends[order] = np.cumsum(lengths[order])
        self.starts = self.ends - lengths

    @property
    def num_bytes(self) -> int:
        """Of the whole file."""
        return int(self.ends.max()) * self.width * 2

    def write(self, states: Iterable[Tensor]) -> None:
        """Write (tokens, width) tensors in the file's order, all of them or no file."""
        with atomic_file(self.path, "wb") as file:
            for tensor in states:
                file.write(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)

    def __getitem__(self, row: int) -> Tensor:
        return self._all[self.starts[row] : self.ends[row]]

    def __getstate__(self) -> dict[str, Any]:
        # a worker maps the file itself
        return {name: value for name, value in vars(self).items() if name != "_all"}

    @cached_property
    def _all(self) -> Tensor:
        size = self.num_bytes // 2
        return torch.from_file(str(self.path), size=size, dtype=torch.bfloat16).view(-1, self.width)


def restore_padding(states: Tensor, mask: Tensor) -> Tensor:
    """Return (tokens, size) as (batch, length, size), with zeros where the mask (batch, length) is False."""
    padded = states.new_zeros(*mask.shape, states.shape[-1])
    padded[mask] = states
    return padded
