"""Losses, each with the number of targets that it is the mean over."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lightune.tasks.batch import RowResult


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over the targets, and their number; without a target the mean is 0.

    Args:
        logits: (…, classes).
        labels: (…) of class indices, -100 where there is no target.
    """
    count = (labels != -100).sum()
    total = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="sum")
    return total / count.clamp(min=1), count


def row_losses(logits: Tensor, labels: Tensor, sizes: list[int] | None = None) -> list[RowResult]:
    """Return ``loss`` and ``targets`` of each row: the mean cross-entropy over its targets, and their number.

    Args:
        logits: (samples, …, classes).
        labels: (samples, …) of class indices, -100 where there is no target.
        sizes: number of samples of each row, such as the windows of a long text; one each where None.
    """
    losses = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
    totals = losses.view(len(labels), -1).sum(dim=1).tolist()
    counts = (labels != -100).view(len(labels), -1).sum(dim=1).tolist()
    results: list[RowResult] = []
    sample = 0
    for size in sizes or [1] * len(labels):
        total, count = sum(totals[sample : sample + size]), sum(counts[sample : sample + size])
        sample += size
        results.append({"loss": total / max(count, 1), "targets": count})
    return results
