"""Losses, each with the number of targets that it is the mean over."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PIECE = 2**26
"""Logits that are turned into float32 at a time, 256 MiB: those over a whole vocabulary would fill a GPU."""


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over the targets, and their number; without a target the mean is 0.

    Args:
        logits: (…, classes).
        labels: (…) of class indices, -100 where there is no target.
    """
    count = (labels != -100).sum()
    rows = max(1, PIECE // logits.shape[-1])
    pieces = zip(torch.split(logits.flatten(0, -2), rows), torch.split(labels.flatten(), rows), strict=True)
    totals = [F.cross_entropy(piece.float(), target, reduction="sum") for piece, target in pieces]
    return sum(totals[1:], totals[0]) / count.clamp(min=1), count
