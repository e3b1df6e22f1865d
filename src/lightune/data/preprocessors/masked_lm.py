"""Further pretraining: texts without labels, some of whose tokens are hidden for the model to guess."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.data.batches.padding import pad, pad_inputs
from lightune.data.preprocessors.columns import check_columns, check_texts
from lightune.data.preprocessors.lengths import check_length


class MaskedLMPreprocessor:
    """Cut texts into pieces and hide a share of their tokens, anew in every epoch; held-out ones once for all.

    Of the tokens chosen, 80 % become the mask, 10 % another token, 10 % stay.
    Source: Devlin et al. (2019), BERT; Sun et al. (2019) for doing this on a task's own texts.

    Args:
        tokenizer: of the pretrained model.
        text_columns: the columns of texts; several are read as one text.
        max_length: tokens a piece, special tokens counted; longer texts become several pieces.
        mlm_probability: share of the tokens that is chosen.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        text_columns: list[str],
        max_length: int,
        mlm_probability: Share,
    ) -> None:
        if tokenizer.mask_token is None:
            raise UserError("task=masked_lm: this model's tokenizer has no mask token. Choose model=bert, …")
        check_length(tokenizer, max_length)
        self.head: dict[str, Any] = {}
        self.tokenizer = tokenizer
        self.input_columns = text_columns
        self.max_length = max_length
        self.collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mlm_probability)

    def fit(self, train: Dataset) -> None:
        """Do nothing: there are no labels."""

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Keep the text columns, checked.

        Raises:
            UserError: a column or a text is missing, or a text to predict for holds no mask.
        """
        check_columns(rows, {"text_columns": self.input_columns}, split=split)
        check_texts(rows, self.input_columns, split=split)
        if not labelled:
            for index, text in enumerate(self._texts(rows[:])):
                self._check_to_fill(text, row=index + 1)
            return rows.select_columns(self.input_columns).add_column("to_fill", [True] * len(rows))
        return rows.select_columns(self.input_columns)

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return None: texts have no classes."""
        return None

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
            features |= self._masked(features["input_ids"], features.pop("special_tokens_mask"))
        return features

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad to one width; ``labels`` (batch, length) hold the hidden tokens, -100 elsewhere."""
        rows = [{name: row[name] for name in row if name != "length"} for row in features]
        if "labels" not in rows[0]:
            batch = pad_inputs(self.tokenizer, rows, most=self.max_length, few=few_widths)
            special = batch.pop("special_tokens_mask")
            ids, hidden = self.collator.torch_mask_tokens(batch["input_ids"], special_tokens_mask=special)
            return batch | {"input_ids": ids, "labels": hidden}
        labels = [row.pop("labels") for row in rows]
        batch = pad_inputs(self.tokenizer, rows, most=self.max_length, few=few_widths, side="right")
        return batch | {"labels": pad(labels, value=-100, most=self.max_length, few=few_widths)}

    def _texts(self, examples: dict[str, list[Any]]) -> list[str]:
        columns = [examples[column] for column in self.input_columns]
        return ["\n".join(texts) for texts in zip(*columns, strict=True)]

    def _check_to_fill(self, text: str, *, row: int) -> None:
        if self.tokenizer.mask_token not in text:
            raise UserError(
                f"Text {row} has nothing to fill in: {text[:80]!r}.\n"
                f"Put {self.tokenizer.mask_token} where a word is wanted."
            )
        length = len(self.tokenizer(text, verbose=False)["input_ids"])
        if length > self.max_length:
            raise UserError(
                f"Text {row} has {length} tokens; this run reads {self.max_length} (data.max_length).\n"
                f"Shorten it around {self.tokenizer.mask_token}: {text[:80]!r}"
            )

    def _masked(self, input_ids: list[list[int]], special: list[list[int]]) -> dict[str, Any]:
        """Hide tokens in a way that depends on the piece alone, so that a measurement can be repeated."""
        masked: dict[str, Any] = {"input_ids": [], "labels": []}
        with torch.random.fork_rng(devices=[]):
            for ids, mask in zip(input_ids, special, strict=True):
                torch.manual_seed(sum(ids))
                row = self.collator([{"input_ids": ids, "special_tokens_mask": mask}])
                masked["input_ids"].append(row["input_ids"][0].tolist())
                masked["labels"].append(row["labels"][0].tolist())
        return masked
