"""Losses over logits."""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightune.common.bounds import Between

TOKEN_PIECE = 2**24
"""Logits of tokens that exist at a time, 64 MiB in float32."""

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


def token_losses(
    output_layer: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor, *, num_classes: int
) -> Tensor:
    """Return the cross-entropy of each target, (targets,), without the logits of all targets at once.

    Logits are made ``TOKEN_PIECE`` at a time, and made again in the backward pass where that holds more than one piece:
    over a vocabulary of 49,152 those of 4,096 targets and their gradients would fill 2.4 GB.

    Args:
        output_layer: maps states to logits (targets, classes).
        states: the hidden states of targets, (targets, size).
        labels: (targets,) of class indices.
        num_classes: the size of the vocabulary.
    """

    def losses(states: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(output_layer(states).float(), labels, reduction="none")

    rows = max(1, TOKEN_PIECE // num_classes)
    pieces = [*zip(torch.split(states, rows), torch.split(labels, rows), strict=True)]
    if len(pieces) > 1 and torch.is_grad_enabled():
        return torch.cat([checkpoint(losses, *piece, use_reentrant=False) for piece in pieces])
    return torch.cat([losses(*piece) for piece in pieces])


class FocalLoss(nn.Module):
    """Cross-entropy that counts what is predicted well less: ``-weight * (1 - p) ** gamma * log(p)`` (Lin et al., 2017).

    p is the probability of the truth; of several labels at once each has its own. ``weight`` (classes,) is that of the
    class; of several labels at once it counts where the label is there.
    """

    weight: Tensor | None

    def __init__(self, *, gamma: Annotated[float, Between(0)] = 2.0, weight: Tensor | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over logits (targets, classes) and labels (targets,), or both (rows, labels) of 0 and 1."""
        several = labels.ndim == logits.ndim
        entropy = F.binary_cross_entropy_with_logits if several else F.cross_entropy
        losses, weight = entropy(logits, labels, reduction="none"), torch.ones_like(labels, dtype=logits.dtype)
        if self.weight is not None:
            weight = torch.where(labels > 0.5, self.weight, 1) if several else self.weight[labels]
        # at p = 1 a power below 1 has no gradient
        missed = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).eps)
        return (weight * missed**self.gamma * losses).mean()
