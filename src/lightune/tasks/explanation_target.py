"""The output of a model that an explanation attributes to words."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Span = tuple[int, int]
"""A word's first character and end."""


class Target(NamedTuple):
    """One output of a model, for one window of a text or for all."""

    label: str
    probability: float | None
    """As ``lightune predict`` gives it; None for a regression."""

    cells: Sequence[tuple[int, ...]]
    """Indices among the scores of a window; the last of each chooses among alternatives."""

    window: int | None = None
    """None: all windows of the row, whose scores ``explained_scores`` pools."""

    span: tuple[int, int, int] | None = None
    """The labelled characters: number of the text, first, end; None where the label is the whole text's."""

    against_others: bool = True
    """Whether the alternatives exclude each other, so that log-odds are explained in place of the score itself."""


def target_output(scores: Tensor, target: Target) -> Tensor:
    """Return the number that is explained, (rows,): the mean over the target's cells.

    Log-odds grow with the probability, do not level off where it nears 1, and add up: evidence for other labels counts
    against this one. ``scores`` are of windows, (rows, …, alternatives).
    """
    values = []
    for cell in target.cells:
        where: tuple[Any, ...] = (slice(None), *cell[:-1])
        row, index = scores[where], cell[-1]
        value = row[:, index]
        if target.against_others:
            others = torch.cat([row[:, :index], row[:, index + 1 :]], dim=1)
            value = value - others.logsumexp(dim=1)
        values.append(value)
    return torch.stack(values).mean(dim=0)
