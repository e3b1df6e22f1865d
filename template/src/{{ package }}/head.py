"""A head and its loss."""

import torch
from torch import Tensor, nn


class TwoLayerHead(nn.Module):
    """Two layers on the mean of the hidden states."""

    def __init__(self, *, hidden_size: int, num_labels: int, intermediate_size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(intermediate_size, num_labels)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (batch, num_labels) for hidden states (batch, length, hidden_size)."""
        mask = attention_mask.unsqueeze(-1).to(hidden_states.dtype)
        mean = (hidden_states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return self.classifier(self.dropout(torch.relu(self.dense(mean))))


class GeneralizedCrossEntropy(nn.Module):
    """A loss that wrong labels pull less (Zhang and Sabuncu, 2018): cross-entropy near q = 0, absolute error at 1."""

    def __init__(self, *, q: float = 0.7) -> None:
        super().__init__()
        self.q = q

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, (rows,), for logits (rows, labels) and class indices (rows,)."""
        true = logits.softmax(dim=-1).gather(1, labels.unsqueeze(-1)).squeeze(-1)
        return (1 - true.clamp(min=1e-6) ** self.q) / self.q
