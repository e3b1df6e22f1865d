"""What a model's frozen lowest layers make of each row, in a file that is mapped, not read, into memory."""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

STATES_KEY = "trunk_states"
"""The name in a batch: (batch, length, hidden size)."""


class FrozenStates:
    """States in bfloat16, token by token, one row's after another's.

    Args:
        path: of the file.
        lengths: tokens of each row; a row's windows count together.
        order: the rows as they follow each other in the file.
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
        """Write (tokens, width) tensors in the file's order, whole or not at all."""
        temporary = self.path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                for some in states:
                    file.write(some.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def __getitem__(self, row: int) -> Tensor:
        return self._all[self.starts[row] : self.ends[row]]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_all"}  # a worker maps it anew

    @cached_property
    def _all(self) -> Tensor:
        size = self.num_bytes // 2
        return torch.from_file(str(self.path), size=size, dtype=torch.bfloat16).view(-1, self.width)


class WithFrozenStates(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows with their states beside the features."""

    def __init__(self, dataset: Dataset, states: FrozenStates) -> None:
        self.dataset = dataset
        self.states = states

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        features: list[dict[str, Any]] = self.dataset.__getitems__(rows)
        return [feature | {STATES_KEY: self.states[row]} for feature, row in zip(features, rows, strict=True)]


def collate(
    features: list[dict[str, Any]], *, inner: Callable[[list[dict[str, Any]]], dict[str, Any]]
) -> dict[str, Any]:
    """Collate rows, and put each token's state where the token is."""
    states = torch.cat([feature.pop(STATES_KEY) for feature in features])
    batch = inner(features)
    batch[STATES_KEY] = restore_padding(states.float(), batch["attention_mask"].bool())
    return batch


def restore_padding(states: Tensor, mask: Tensor) -> Tensor:
    """Return (tokens, size) as (batch, length, size), zeros where the mask (batch, length) is False."""
    padded = states.new_zeros(*mask.shape, states.shape[-1])
    padded[mask] = states
    return padded
