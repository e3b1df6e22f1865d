"""Further pretraining: texts without labels, some of whose tokens are masked for the model to predict."""

from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, check_texts
from lightune.data.preprocessors.lengths import check_length


@dataclass(kw_only=True, eq=False)
class MaskedLMPreprocessor(Preprocessor):
    """Cut texts into pieces and mask a share of their tokens: in training anew in every epoch, held out only once.

    Of the chosen tokens, 80 % become the mask, 10 % another token, 10 % stay.
    Source: Devlin et al. (2019), BERT; Sun et al. (2019) for doing this on a task's own texts.

    Args:
        tokenizer: of the pretrained model.
        text_columns: the columns of texts; several are read as one text.
        max_length: tokens a piece, special tokens counted; longer texts become several pieces.
        mlm_probability: share of the tokens that is chosen.
    """

    tokenizer: PreTrainedTokenizerBase
    text_columns: list[str] = field(default_factory=lambda: ["text"])
    max_length: int = 128
    mlm_probability: Share = 0.15

    def __post_init__(self) -> None:
        if self.tokenizer.mask_token is None:
            raise UserError("task=masked_lm: this model's tokenizer has no mask token. Choose model=bert, …")
        check_length(self.tokenizer, self.max_length)
        self.input_columns = self.prepared_inputs = self.text_columns
        self.collator = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=self.mlm_probability)

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return the text columns, checked; a text to predict for must hold a mask."""
        check_columns(rows, {"text_columns": self.input_columns}, split=split)
        check_texts(rows, self.input_columns, split=split)
        prepared = rows.select_columns(self.input_columns)
        if labelled:
            return prepared
        mask = self.tokenizer.mask_token
        for row, text in enumerate(self._texts(rows[:]), start=1):
            if mask not in text:
                raise UserError(
                    f"Text {row} has nothing to fill in: {text[:80]!r}.\nPut {mask} where a word is wanted."
                )
            if (length := len(self.tokenizer(text, verbose=False)["input_ids"])) > self.max_length:
                raise UserError(
                    f"Text {row} has {length} tokens; this run reads {self.max_length} (data.max_length).\n"
                    f"Shorten it around {mask}: {text[:80]!r}"
                )
        return prepared.add_column("to_fill", [True] * len(rows))

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize and cut a batch of texts; a row may become several."""
        pieces = self.tokenizer(
            self._texts(examples),
            truncation=True,
            max_length=self.max_length,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        features = {name: pieces[name] for name in ("input_ids", "attention_mask", "special_tokens_mask")}
        features["length"] = [len(ids) for ids in pieces["input_ids"]]
        if "to_fill" in examples:
            del features["special_tokens_mask"]
            features["labels"] = [[-100] * length for length in features["length"]]
        elif not training:
            features |= self._mask_once(features["input_ids"], features.pop("special_tokens_mask"))
        return features

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad to one width; ``labels`` (batch, length) hold the masked tokens, -100 elsewhere."""
        batch = pad_inputs(self.tokenizer, features, max_width=self.max_length, few_widths=few_widths, labels=-100)
        if "labels" in batch:
            return batch
        special = batch.pop("special_tokens_mask")
        ids, labels = self.collator.torch_mask_tokens(batch["input_ids"], special_tokens_mask=special)
        return batch | {"input_ids": ids, "labels": labels}

    def _texts(self, examples: dict[str, list[Any]]) -> list[str]:
        columns = [examples[column] for column in self.input_columns]
        return ["\n".join(texts) for texts in zip(*columns, strict=True)]

    def _mask_once(self, input_ids: list[list[int]], special: list[list[int]]) -> dict[str, Any]:
        """Mask tokens in a way that depends on the piece alone, so that a measurement can be repeated."""
        masked: dict[str, Any] = {"input_ids": [], "labels": []}
        with torch.random.fork_rng(devices=[]):
            for ids, mask in zip(input_ids, special, strict=True):
                torch.manual_seed(sum(ids))
                row = self.collator([{"input_ids": ids, "special_tokens_mask": mask}])
                for name, values in masked.items():
                    values.append(row[name][0].tolist())
        return masked
