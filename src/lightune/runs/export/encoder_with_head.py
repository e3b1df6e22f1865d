"""An encoder under another head than its architecture's own, in transformers' form; an export holds this source."""

from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from lightune.models.heads import MeanPooling as Head


class EncoderWithHeadConfig(PreTrainedConfig):  # type: ignore[misc]
    """The settings of the encoder, the arguments of the head, and the labels."""

    model_type = "encoder_with_head"
    encoder: dict[str, Any] | None = None
    head: dict[str, Any] | None = None


class EncoderWithHead(PreTrainedModel):  # type: ignore[misc]
    """An encoder, and a head on its last hidden states."""

    config_class = EncoderWithHeadConfig

    def __init__(self, config: EncoderWithHeadConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(AutoConfig.for_model(**config.encoder or {}))
        self.encoder.pooler = None
        size = self.encoder.config.hidden_size
        self.classifier = Head(hidden_size=size, num_labels=config.num_labels, **config.head or {})
        self.post_init()

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return logits for ``input_ids`` and ``attention_mask`` (batch, length)."""
        hidden = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(hidden, attention_mask))
