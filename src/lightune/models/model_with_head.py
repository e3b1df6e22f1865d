"""Any encoder under a head that is not its architecture's own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from lightune.common.errors import UserError

HEAD = "head:"
"""Among a run's weights, those of such a head; its class follows."""

EXPORTED_CODE = "modeling_head.py"
"""The file in an export that holds the head's source."""

MakeHead = Callable[..., nn.Module]
"""Makes a head of ``hidden_size`` and ``num_labels``: a module that turns hidden states (batch, length, hidden_size) and an
attention mask (batch, length) into logits, (batch, num_labels) or, of tokens, (batch, length, num_labels)."""


def head_prefix(make_head: MakeHead | None) -> str:
    """Return how the names of a head's weights begin among those of a run."""
    made_by: Any = getattr(make_head, "func", make_head)
    return f"{HEAD}{made_by.__module__}.{made_by.__qualname__}."


class ModelWithHead(nn.Module):
    """An encoder, whose pooler nobody reads and is dropped, and a head on its last hidden states."""

    def __init__(self, encoder: PreTrainedModel, make_head: MakeHead, *, of_tokens: bool = False) -> None:
        super().__init__()
        self.config: Any = encoder.config
        if getattr(encoder, "pooler", None) is not None:
            # its weights would get no gradient, which DDP refuses
            encoder.pooler = None
        self.encoder = encoder
        self.make_head = make_head
        self.of_tokens = of_tokens
        self.classifier = make_head(hidden_size=self.config.hidden_size, num_labels=self.config.num_labels)

    @property
    def base_model(self) -> PreTrainedModel:
        """The encoder, by the name that transformers gives it in its own heads."""
        return self.encoder

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return the head's logits for ``input_ids`` and ``attention_mask`` (batch, length), or raise a UserError."""
        hidden = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
        logits = self.classifier(hidden, attention_mask)
        shape = (*attention_mask.shape[: 1 + self.of_tokens], self.config.num_labels)
        if not torch.compiler.is_compiling() and getattr(logits, "shape", None) != shape:
            given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise UserError(
                f"task.head: {type(self.classifier).__name__} gives {given} for a batch of "
                f"{' x '.join(map(str, attention_mask.shape))} tokens.\nExpected logits of shape {shape}."
            )
        return SequenceClassifierOutput(logits=logits)
