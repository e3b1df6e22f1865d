"""Heads for texts on pooled hidden states, for checkpoints that were trained with another pooling than their own head's."""

import torch
from torch import Tensor, nn


class ClsPooling(nn.Linear):
    """Turn the first token's hidden state into logits by dropout and a linear layer (Devlin et al., 2019)."""

    def __init__(self, *, hidden_size: int, num_labels: int, dropout: float = 0.1) -> None:
        super().__init__(hidden_size, num_labels)
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (batch, num_labels) for hidden states (batch, length, size) and their mask (batch, length)."""
        return super().forward(self.dropout(self.pool(hidden_states, attention_mask)))

    def pool(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """Return one state for each row, (batch, size)."""
        return hidden_states[:, 0]


class MeanPooling(ClsPooling):
    """The same on the mean of the real tokens' hidden states (Reimers and Gurevych, 2019, Sentence-BERT)."""

    def pool(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        weights = attention_mask.unsqueeze(-1).to(hidden_states.dtype)
        return (hidden_states * weights).sum(dim=1) / torch.clamp(weights.sum(dim=1), min=1)


POOLINGS: dict[str, type[nn.Module]] = {"mean": MeanPooling, "cls": ClsPooling}
