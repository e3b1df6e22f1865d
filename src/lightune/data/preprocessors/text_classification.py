"""Text classification: labelled texts, or pairs of texts, become token ids."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from datasets import Dataset
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.common.errors import UserError, listed
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.columns import check_columns, check_filled, check_scalars, refuse_missing
from lightune.data.preprocessors.labels import LARGEST, REGRESSION, SINGLE, Labels, decoded, infer, is_missing
from lightune.data.preprocessors.lengths import check_length, cut, were_cut
from lightune.data.preprocessors.places import Place, locate_tokens

NOT_INPUTS = {"labels", "length", "cut"}


class TextClassificationPreprocessor:
    """Tokenize one or two text columns and encode the label column.

    Args:
        tokenizer: of the pretrained model.
        text_columns: one column of texts, or two for pairs of texts (premise and hypothesis, …).
        label_column: class indices or names, lists of them (several labels at once), or numbers (regression).
        label_names: the label names in the order of their indices; inferred from the data where None.
        max_length: tokens a text (or pair) is cut to, special tokens counted.
        truncation: what stays of a longer text: its ``head``, its ``tail``, or ``head_tail``: a quarter from its
            beginning and the rest from its end, the best of the three on reviews (Sun et al., 2019).
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        text_columns: list[str],
        label_column: str,
        label_names: list[str] | None,
        max_length: int,
        truncation: Literal["head", "tail", "head_tail"],
    ) -> None:
        if not 1 <= len(text_columns) <= 2:
            raise UserError(
                f"data.text_columns={text_columns}: expected one column, or two for pairs of texts."
            )
        check_length(tokenizer, max_length)
        if truncation != "head" and len(text_columns) == 2:
            raise UserError(
                f"data.truncation={truncation}: pairs of texts are cut at their ends. Set data.truncation=head"
            )
        self.tokenizer = tokenizer
        self.input_columns = text_columns
        self.label_column = label_column
        self.label_names = label_names
        self.max_length = max_length
        self.truncation = truncation
        self.labels: Labels | None = None

    @property
    def head(self) -> dict[str, Any]:
        """What the model's configuration must say for its head to fit the data; known after :meth:`fit`."""
        assert self.labels is not None, "fit() has not been called"
        return self.labels.head

    def fit(self, train: Dataset) -> None:
        """Learn the labels from the training rows."""
        self._check_columns(train, split="train", labelled=True)
        self.labels = infer(train, self.label_column, label_names=self.label_names)

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Keep the text columns, checked, with the encoded ``labels`` beside them.

        Raises:
            UserError: a column, a text or a label is missing, or a label is unknown; names the row.
        """
        self._check_columns(rows, split=split, labelled=labelled)
        check_filled(rows, self.input_columns, split=split)
        check_scalars(rows, self.input_columns, split=split)
        prepared = rows.select_columns(self.input_columns)
        if not labelled:
            return prepared
        if "labels" in self.input_columns:
            raise UserError("data.text_columns: a text column cannot be called 'labels'. Rename it.")
        return prepared.add_column("labels", self._encode(rows, split=split))

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return the class of each row where rows have exactly one, for stratified splits."""
        assert self.labels is not None, "fit() has not been called"
        return list(prepared["labels"]) if self.labels.problem_type == SINGLE else None

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows; padding waits for :meth:`collate`."""
        texts = [[str(text) for text in examples[column]] for column in self.input_columns]
        if self.truncation == "head":
            encoded = self._cut_ends(texts)
            features = {**encoded, "cut": were_cut(encoded, max_length=self.max_length)}
        else:
            features = self._cut_inside(texts[0])
        features["length"] = [len(ids) for ids in features["input_ids"]]
        return features | ({"labels": examples["labels"]} if "labels" in examples else {})

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Tensor]:
        """Pad rows to one width.

        Returns:
            ``input_ids`` and ``attention_mask`` (batch, length), and ``labels``: (batch,) of int64 or, for
            regression, float32; (batch, num_labels) of float32 for several labels at once.
        """
        inputs = [{key: value for key, value in row.items() if key not in NOT_INPUTS} for row in features]
        batch = pad_inputs(self.tokenizer, inputs, most=self.max_length, few=few_widths)
        if "labels" in features[0]:
            single = self.labels is not None and self.labels.problem_type == SINGLE
            dtype = torch.int64 if single else torch.float32
            batch["labels"] = torch.tensor([row["labels"] for row in features], dtype=dtype)
        return batch

    def locate_tokens(self, texts: Sequence[str]) -> list[list[Place | None]]:
        """Say where the tokens of one row lie, for the one window that is read of it; the tokenizer is a fast one."""
        columns = [[text] for text in texts]
        if self.truncation == "head":
            return [locate_tokens(self._cut_ends(columns, return_offsets_mapping=True), 0)]
        spans = self._cut_inside(columns[0], return_offsets_mapping=True)["offset_mapping"][0]
        return [[Place(0, start, end) if start < end else None for start, end in spans]]

    def _cut_ends(self, texts: list[list[str]], **asked: bool) -> BatchEncoding:
        """Tokenize one or two columns, and leave out what is too much at the end of each text."""
        if len(texts) == 2 and self.tokenizer.is_fast:
            texts = [self._shorter(column) for column in texts]
        return self.tokenizer(*texts, truncation=True, max_length=self.max_length, **asked)

    def _shorter(self, texts: list[str]) -> list[str]:
        """Cut what no pair has room for: of two long texts a tokenizer combines each rest with each, which takes hours.

        Twice the room is left, so that a cut word is not among the tokens that stay.
        """
        room = 2 * self.max_length
        long = [index for index, text in enumerate(texts) if len(text) > room]
        shorter = (
            dict(zip(long, cut(self.tokenizer, [texts[i] for i in long], tokens=room), strict=True))
            if long
            else {}
        )
        return [shorter.get(index, text) for index, text in enumerate(texts)]

    def _cut_inside(self, texts: list[str], **asked: bool) -> dict[str, list[Any]]:
        """Tokenize whole texts, and take what is too much out of their middle or their beginning."""
        features = dict(self.tokenizer(texts, return_special_tokens_mask=True, verbose=False, **asked))
        special = features.pop("special_tokens_mask")
        for row, is_special in enumerate(special):
            excess = len(is_special) - self.max_length
            if excess <= 0:
                continue
            first = is_special.index(0)
            room = is_special.count(0) - excess
            start = first + (room // 4 if self.truncation == "head_tail" else 0)
            for values in features.values():
                del values[row][start : start + excess]
        return features | {"cut": [len(is_special) > self.max_length for is_special in special]}

    def _check_columns(self, rows: Dataset, *, split: str, labelled: bool) -> None:
        columns: dict[str, str | list[str]] = {"text_columns": self.input_columns}
        check_columns(rows, columns | ({"label_column": self.label_column} if labelled else {}), split=split)

    def _encode(self, rows: Dataset, *, split: str) -> list[Any]:
        assert self.labels is not None, "fit() has not been called"
        values = decoded(rows, self.label_column, label_names=self.label_names)
        refuse_missing([is_missing(value) for value in values], "label", self.label_column, split=split)
        encoded: list[Any] = []
        wrong: list[tuple[int, Any, Exception]] = []
        for index, value in enumerate(values):
            try:
                encoded.append(self.labels.encode(value))
            except (TypeError, ValueError) as error:
                wrong.append((index, value, error))
        if wrong:
            index, value, first = wrong[0]
            reason = str(first)
            if self.labels.problem_type == REGRESSION:
                reason = f"{value!r} is not a number up to {LARGEST:.0e}, as the other labels are."
            elif value == -1:
                reason = (
                    f"-1 marks rows without a label; name a labelled split, as data.{split}_split=validation."
                )
            others = [at + 1 for at, _, _ in wrong[1:]]
            raise UserError(
                f"The {split} split, row {index + 1}, column {self.label_column!r}: {reason}\n"
                + (f"{len(others):,} more such row(s): row {listed(others, limit=3)}. " if others else "")
                + "Mend or remove these rows, or have the label in the training rows too."
            ) from first
        return encoded
