"""A metric."""

import torch
from torch import Tensor
from torchmetrics import Metric


class SureAccuracy(Metric):
    """The accuracy on the rows whose likeliest label has a probability of ``threshold`` or more; 0 without any."""

    higher_is_better = True
    right: Tensor
    sure: Tensor

    def __init__(self, *, threshold: float = 0.8) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("right", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("sure", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add probabilities (rows, labels) and class indices (rows,)."""
        best = preds.max(dim=-1)
        is_sure = best.values >= self.threshold
        self.right += (is_sure & (best.indices == target)).sum()
        self.sure += is_sure.sum()

    def compute(self) -> Tensor:
        """Return the share of the sure rows that are right."""
        return self.right / self.sure.clamp(min=1)
