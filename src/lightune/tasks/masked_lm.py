"""Further pretraining on a task's own texts, before fine-tuning from that run."""

from typing import Any

from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForMaskedLM

from lightune.models.pretrained import PretrainedModel
from lightune.tasks.base import Task
from lightune.tasks.batch import Batch
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tuning.recipe import Recipe

BEST = 5  # tokens offered for a mask
PRINT_TOKENS = """\
best = logits[inputs["input_ids"] == tokenizer.mask_token_id].argmax(-1)
print(tokenizer.decode(best))"""


class MaskedLM(Task):
    """Predict hidden tokens: cross-entropy over them, and perplexity.

    Source: Sun et al. (2019), How to Fine-Tune BERT for Text Classification.
    """

    language_model = True
    pipeline_tag = "fill-mask"
    auto_class = AutoModelForMaskedLM
    fitting_models = "model=minilm, bert, roberta, modernbert, …"
    predict_arguments = '--text "… [MASK] …"'

    def __init__(self, *, pretrained: PretrainedModel, head: dict[str, Any], recipe: Recipe) -> None:
        model = pretrained.load_model(self.auto_class, **head)
        super().__init__(model=model, metrics=MetricCollection({}), recipe=recipe)
        self.tokenizer = pretrained.load_tokenizer()

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        """Do nothing: loss and perplexity are measured anyway."""

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return ``{"masks": [[{"token", "score"}, …], …]}`` for each row: the best tokens for each mask."""
        is_mask = batch["input_ids"] == self.tokenizer.mask_token_id
        return [
            {"masks": [self._best(mask) for mask in row[masks].float().softmax(dim=-1)]}
            for masks, row in zip(is_mask, self(batch), strict=True)
        ]

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        call = tokenizer_call(preprocessor, '[f"A {tokenizer.mask_token} text."]', tensors=tensors)
        return Usage(call, PRINT_TOKENS)

    def _best(self, probabilities: Tensor) -> list[dict[str, Any]]:
        scores, tokens = probabilities.topk(BEST)
        return [
            {"token": self.tokenizer.decode([token]).strip(), "score": score}
            for token, score in zip(tokens.tolist(), scores.tolist(), strict=True)
        ]
