"""Dialogue: go on after the turns so far."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from finetune.errors import UserError
from finetune.pretrained import PretrainedModel, reads_left_to_right
from finetune.tasks.base import Batch, inputs
from finetune.tasks.generation import Generation


class CausalLM(Generation):
    """Fine-tune a causal language model, or an encoder whose attention is made to look back only."""

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        choose = "model=gpt2, distilgpt2, qwen, or minilm, bert, roberta made to look back only"
        config = pretrained.check(AutoModelForCausalLM, choose=choose)
        if config.is_encoder_decoder:
            raise UserError(
                f"{pretrained.name} ({config.model_type}) does not fit this task: it is an encoder-decoder.\n"
                f"Choose one that goes on with a text: {choose}"
            )

    @staticmethod
    def load(pretrained: PretrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
        encoder = not reads_left_to_right(pretrained.load_config())
        model: Any = pretrained.load_model(AutoModelForCausalLM, **({"is_decoder": True} if encoder else {}))
        end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        model.generation_config.update(eos_token_id=end, pad_token_id=tokenizer.pad_token_id)
        return model

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (batch, length, vocabulary); position i is for the token at i, seen up to i - 1."""
        logits: Tensor = self.model(**inputs(batch), use_cache=False).logits
        # nothing comes before the first token: its logits are a filler, and its label is never a target
        return torch.cat([logits[:, :1], logits[:, :-1]], dim=1)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        labels = batch["labels"].clone()
        labels[:, 0] = -100
        return super().loss(logits, {"labels": labels})

    def prompt(self, batch: Batch) -> dict[str, Tensor]:
        """Pad the prompts on the left: generation goes on at the right, where it needs room."""
        positions = getattr(self.model.config, "max_position_embeddings", None) or 10**9
        room = max(1, positions - self.model.generation_config.max_new_tokens)
        rows = [torch.tensor(row["prompt_ids"][-room:][::-1]) for row in batch["rows"]]
        mask = [torch.ones_like(row) for row in rows]
        pad_id = self.model.generation_config.pad_token_id

        def left(tensors: list[Tensor], value: int) -> Tensor:
            padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
            return padded.flip(dims=[1]).to(self.device)

        return {"input_ids": left(rows, pad_id), "attention_mask": left(mask, 0)}
