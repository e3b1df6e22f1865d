"""Dialogue: write the next turn."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.common.special_tokens import end_token_id
from lightune.models.model_parts import first_position, is_decoder_only, max_positions
from lightune.models.pretrained import PretrainedModel
from lightune.models.states_at_targets import logits_of, states_at_targets
from lightune.tasks.batch import Batch, RowResult, inputs
from lightune.tasks.export_usage import Usage
from lightune.tasks.generation import Generation
from lightune.tasks.losses import token_losses

PRINT_REPLY = 'print(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))'


class CausalLM(Generation):
    """Fine-tune a causal language model, or an encoder whose attention is made to look back only."""

    pipeline_tag = "text-generation"
    auto_class = AutoModelForCausalLM
    fitting_models = "model=gpt2, distilgpt2, qwen, or minilm, bert, roberta made to look back only"

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        super().check(pretrained)
        config = pretrained.load_config()
        if config.is_encoder_decoder:
            raise UserError(
                f"{pretrained.name} ({config.model_type}) does not fit this task: it is an encoder-decoder.\n"
                f"Choose one that continues a text: {cls.fitting_models}"
            )

    @staticmethod
    def load(pretrained: PretrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
        as_decoder = {} if is_decoder_only(pretrained.load_config()) else {"is_decoder": True}
        model: Any = pretrained.load_model(AutoModelForCausalLM, **as_decoder)
        own = model.generation_config.eos_token_id  # a number, a list or None
        ends = {*(own if isinstance(own, list) else [own]), *_ends_of_turn(tokenizer)} - {None}
        model.generation_config.update(eos_token_id=sorted(ends))
        return model

    def forward(self, batch: Batch) -> Tensor:
        """Return the hidden states (targets, size) that each target is told by: those of the token before it."""
        named = inputs(batch)
        if self.device.type == "cpu":
            # a token sees none after it, so none of the padding at the end; attention without a mask is faster
            named.pop("attention_mask")
        return states_at_targets(self.model, named, _is_before_target(batch))

    def targets(self, batch: Batch) -> Tensor:
        labels: Tensor = batch["labels"][:, 1:][_is_before_target(batch)]
        return labels

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        size = self.model.get_output_embeddings().weight.shape[0]
        losses = token_losses(partial(logits_of, self.model), logits, self.targets(batch), num_classes=size)
        return losses.sum() / max(1, len(losses)), len(losses)

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits_of(self.model, logits)

    def row_losses(
        self, logits: Tensor | Sequence[Tensor], batch: Batch, sizes: list[int] | None = None
    ) -> list[RowResult]:
        assert isinstance(logits, Tensor)
        return super().row_losses(torch.split(logits, _is_before_target(batch).sum(dim=1).tolist()), batch)

    def prompt(self, batch: Batch) -> dict[str, Tensor]:
        """Pad the prompts on the left: generation goes on at the right, where it needs room."""
        room = max(1, (max_positions(self.model) or 10**9) - (self.model.generation_config.max_new_tokens or 0))
        rows = [torch.tensor(row["prompt_ids"][-room:]) for row in batch["rows"]]
        left = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True, padding_side="left")
        ids = left(rows, padding_value=self.model.generation_config.pad_token_id).to(self.device)
        attended = left([torch.ones_like(row) for row in rows]).to(self.device)
        prompt = {"input_ids": ids, "attention_mask": attended}
        if (first := first_position(self.model)) > 0:
            # ``generate`` takes it for 0
            prompt["position_ids"] = attended.cumsum(dim=1) * attended + first - 1
        return prompt

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        tokenizer, end = preprocessor.tokenizer, f'return_tensors="{tensors}")'
        if tokenizer.chat_template is not None:
            message = '[{"role": "user", "content": "How are you?"}]'
            call = f"tokenizer.apply_chat_template({message}, add_generation_prompt=True, return_dict=True, {end}"
        else:
            ids = preprocessor.prompt_ids([]), [end_token_id(tokenizer)]
            first, after = (tokenizer.decode(tokens) for tokens in ids)
            text, no_types = f"{first}How are you?{after}", "return_token_type_ids=False"
            call = f"tokenizer([{text!r}], add_special_tokens=False, {no_types}, padding=True, {end}"
        return Usage(call, PRINT_REPLY)


def _is_before_target(batch: Batch) -> Tensor:
    """Return where a target follows, (batch, length - 1); nothing precedes the first token, so it is no target."""
    labels: Tensor = batch["labels"]
    return labels[:, 1:] != -100


def _ends_of_turn(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end a turn: the end of text, and the token that the chat template puts after it."""
    end = end_token_id(tokenizer)
    if tokenizer.chat_template is None:
        return [end]
    reply = "xyzzy"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": reply}]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False)
    after = tokenizer(text.rpartition(reply)[2], add_special_tokens=False)["input_ids"]
    return [end, *(token for token in after[:1] if token in tokenizer.all_special_ids)]
