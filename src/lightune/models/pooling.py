"""A classification head for any encoder, for checkpoints that were trained with another pooling than their own head's."""

from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

# of its head's weights among those of an encoder
POOLED_HEAD = "pooled_head."


class PooledClassifier(nn.Module):
    """Pool an encoder's last hidden states, and turn them into ``num_labels`` logits by dropout and a linear layer.

    ``mean`` pools the real tokens (Reimers and Gurevych, 2019, Sentence-BERT), ``cls`` takes the first token (Devlin et
    al., 2019).
    """

    def __init__(self, encoder: PreTrainedModel, *, pooling: Literal["mean", "cls"]) -> None:
        super().__init__()
        self.config = encoder.config
        if getattr(encoder, "pooler", None) is not None:
            # unused: its weights would get no gradient, which DDP refuses
            encoder.pooler = None
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(getattr(self.config, "hidden_dropout_prob", 0.1))
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    @property
    def base_model(self) -> PreTrainedModel:
        """The encoder, by the name that transformers gives it in its own heads."""
        return self.encoder

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return logits (batch, num_labels) for ``input_ids`` and ``attention_mask`` (batch, length)."""
        hidden = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / torch.clamp(weights.sum(dim=1), min=1)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))
