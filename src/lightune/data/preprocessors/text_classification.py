"""Text classification: labelled texts, or pairs of texts, become token ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from lightune.common.errors import UserError
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, check_filled, check_scalars
from lightune.data.preprocessors.labels import MULTI, NO_LABEL, REGRESSION, SINGLE, Labels, encode_labels, infer_labels
from lightune.data.preprocessors.lengths import check_length, check_offsets, find_truncated, truncate_texts
from lightune.data.preprocessors.windows import Place, check_stride, group_by_row, locate_tokens, ungroup


@dataclass(kw_only=True, eq=False)
class TextClassificationPreprocessor(Preprocessor):
    """Tokenize one or two text columns and encode the label column.

    Args:
        tokenizer: of the pretrained model.
        text_columns: one column of texts, or two for pairs of texts (premise and hypothesis, …).
        label_column: class indices or names, lists of them (several labels at once), or numbers (regression); or several
            columns, each with a 0 or 1 for one label.
        label_names: the label names in the order of their indices; None: inferred from the data.
        label_separator: between the labels of a text that holds several, such as ``|``.
        label_template: a text such as ``{}`` or ``It is about {}.``: the model also trains on a row of each label, with the
            label's name in place of ``{}``. None: on no such rows.
        max_length: tokens a text (or pair) is cut to, special tokens counted.
        truncation: what is kept of a longer text: its ``head``, its ``tail``, or ``head_tail``: a quarter from its
            beginning and the rest from its end, the best of the three on reviews (Sun et al., 2019).
        doc_stride: nothing is cut: a longer text is read in windows of ``max_length`` tokens, of which neighbours share
            so many. None: it is cut.
    """

    tokenizer: PreTrainedTokenizerBase
    text_columns: list[str] = field(default_factory=lambda: ["text"])
    label_column: str | list[str] = "label"
    label_names: list[str] | None = None
    label_separator: str | None = None
    label_template: str | None = None
    max_length: int = 256
    truncation: Literal["head", "tail", "head_tail"] = "head"
    doc_stride: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.text_columns) <= 2:
            raise UserError(f"data.text_columns={self.text_columns}: expected one column, or two for pairs.")
        if self.label_separator == "":
            raise UserError("data.label_separator='': expected one character or more, or null.")
        if self.label_template is not None and ("{}" not in self.label_template or len(self.text_columns) == 2):
            given = f"data.label_template={self.label_template}, data.text_columns={self.text_columns}"
            raise UserError(f"{given}: expected {{}} where a label's name goes, and one text column; or null.")
        check_length(self.tokenizer, self.max_length)
        if self.truncation != "head" and len(self.text_columns) == 2:
            raise UserError(f"data.truncation={self.truncation}: pairs are cut at their ends. Set data.truncation=head")
        self._window_options: dict[str, Any] = {}
        if self.doc_stride is not None:
            check_offsets(self.tokenizer)
            if len(self.text_columns) == 2 or self.truncation != "head":
                needs = "reads all of one text, and needs data.truncation=head and one text column"
                given = f"data.truncation={self.truncation}, data.text_columns={self.text_columns}"
                raise UserError(f"data.doc_stride={self.doc_stride} {needs}.\n{given}: set data.doc_stride=null")
            room = self.max_length - self.tokenizer.num_special_tokens_to_add()
            check_stride(self.doc_stride, max_length=self.max_length, room=room, suggested=room // 4)
            self._window_options = {"stride": self.doc_stride, "return_overflowing_tokens": True}
        self.input_columns = self.prepared_inputs = self.text_columns
        self._columns: Any = {"text_columns": self.text_columns, "label_column": self.label_column}
        self._labels_from: Any = {"label_names": self.label_names, "separator": self.label_separator}
        self.labels: Labels | None = None

    @property
    def head(self) -> dict[str, Any]:
        """The configuration of a head that fits the labels; known after ``fit``."""
        assert self.labels is not None, "fit() has not been called"
        return self.labels.head

    @property
    def ways_to_read_more(self) -> list[str]:
        """The options that make the model read more of a text that is cut, the cheapest first."""
        most, is_single = self.tokenizer.model_max_length, len(self.text_columns) == 1
        limit = f"data.max_length up to {most:,}" if most < VERY_LARGE_INTEGER else "a larger data.max_length"
        ways = {
            "data.truncation=head_tail": is_single and self.truncation == "head",
            limit: self.max_length < most,
            "data.doc_stride=64": is_single and self.tokenizer.is_fast and self.max_length >= 128,
            "model=modernbert (reads 8,192)": most < 8192,
        }
        return [way for way, helps in ways.items() if helps]

    def fit(self, train: Dataset) -> None:
        """Learn the labels from the training rows."""
        check_columns(train, self._columns, split="train")
        self.labels = infer_labels(train, self.label_column, **self._labels_from)

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return the text columns, checked, with the encoded ``labels``."""
        check_columns(rows, self._columns if labelled else {"text_columns": self.input_columns}, split=split)
        check_filled(rows, self.input_columns, split=split)
        check_scalars(rows, self.input_columns, split=split)
        prepared = rows.select_columns(self.input_columns)
        if not labelled:
            return prepared
        if "labels" in self.input_columns:
            raise UserError("data.text_columns: a text column cannot be called 'labels'. Rename it.")
        assert self.labels is not None, "fit() has not been called"
        encoded = encode_labels(rows, self.label_column, self.labels, **self._labels_from, split=split)
        return prepared.add_column("labels", encoded)

    def prepare_unlabelled(self, rows: Dataset) -> Dataset:
        """Return the text columns, checked, with ``labels`` that are missing, see ``is_unlabelled``."""
        missing = {SINGLE: NO_LABEL, MULTI: [nan] * self.head["num_labels"], REGRESSION: nan}[self.head["problem_type"]]
        return self.prepare(rows, split="unlabelled", labelled=False).add_column("labels", [missing] * len(rows))

    def rows_of_labels(self) -> Dataset | None:
        """Return a prepared row of each label, see ``label_template``; None without one."""
        if self.label_template is None:
            return None
        assert self.labels is not None, "fit() has not been called"
        names, kind = self.labels.names, self.labels.problem_type
        if kind == REGRESSION:
            raise UserError(f"data.label_template={self.label_template}: a regression has no labels. Set it to null.")
        if wordless := [name for name in names if not re.search(r"[^\W\d_]", re.sub(r"^LABEL_\d+$", "", name))]:
            raise UserError(
                f"data.label_template={self.label_template}: the label {wordless[0]!r} says nothing about its texts.\n"
                "Name all labels in the order of their indices, data.label_names=[…], or set data.label_template=null."
            )
        texts = [self.label_template.replace("{}", name) for name in names]
        labels = [index if kind == SINGLE else self.labels.encode([name]) for index, name in enumerate(names)]
        return Dataset.from_dict({self.text_columns[0]: texts, "labels": labels})

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        return list(prepared["labels"]) if self.head["problem_type"] == SINGLE else None

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows; with ``doc_stride`` each holds a list of its windows, in training too."""
        texts = [[str(text) for text in examples[column]] for column in self.input_columns]
        features: dict[str, Any]
        if in_windows := self.doc_stride is not None:
            windows = self._truncate_end(texts)
            owners = windows.pop("overflow_to_sample_mapping")
            features = group_by_row(windows, owners, num_rows=len(texts[0]))
        elif self.truncation == "head":
            encoded = self._truncate_end(texts)
            features = {**encoded, "truncated": find_truncated(encoded, max_length=self.max_length)}
        else:
            features = self._truncate_inside(texts[0])
        lengths = [sum(map(len, ids)) if in_windows else len(ids) for ids in features["input_ids"]]
        return {**features, "length": lengths, **({"labels": examples["labels"]} if "labels" in examples else {})}

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad rows to one width.

        Returns:
            ``input_ids`` and ``attention_mask`` (batch, length), and ``labels``: (batch,) of int64 or, for
            regression, float32; (batch, num_labels) of float32 for several labels at once. With ``doc_stride`` the
            inputs are those of all windows, (windows, length), and ``num_windows`` lists how many each row has.
        """
        in_windows, names = self.doc_stride is not None, features[0].keys() - {"length", "labels"}
        windows = ungroup(features, [*names]) if in_windows else features
        # XLNet's tokenizer writes <cls> last, and its head reads the last place
        side = "left" if windows[0]["input_ids"][-1] == self.tokenizer.cls_token_id else "right"
        batch = pad_inputs(self.tokenizer, windows, max_width=self.max_length, few_widths=few_widths, side=side)
        if in_windows:
            batch["num_windows"] = [len(row["input_ids"]) for row in features]
        if "labels" in features[0]:
            single = self.labels is not None and self.labels.problem_type == SINGLE
            dtype = torch.int64 if single else torch.float32
            batch["labels"] = torch.tensor([row["labels"] for row in features], dtype=dtype)
        return batch

    def locate_tokens(self, texts: Sequence[str]) -> list[list[Place | None]]:
        """Return where the tokens of each window of one row lie in its texts; the tokenizer is a fast one."""
        columns = [[text] for text in texts]
        if self.truncation == "head":
            return locate_tokens(self._truncate_end(columns, return_offsets_mapping=True))
        spans = self._truncate_inside(columns[0], return_offsets_mapping=True)["offset_mapping"][0]
        return [[Place(0, start, end) if start < end else None for start, end in spans]]

    def _truncate_end(self, texts: list[list[str]], **options: bool) -> BatchEncoding:
        """Tokenize one or two columns, and cut what is too long at the end of each text, or into windows."""
        if len(texts) == 2 and self.tokenizer.is_fast:
            # of two long texts a tokenizer combines each rest with each, which takes hours; twice the room is kept, so
            # that a word that is cut in two is not among the tokens that stay
            texts = [truncate_texts(self.tokenizer, column, tokens=2 * self.max_length) for column in texts]
        return self.tokenizer(*texts, truncation=True, max_length=self.max_length, **options, **self._window_options)

    def _truncate_inside(self, texts: list[str], **options: bool) -> dict[str, list[Any]]:
        """Tokenize whole texts, and cut what is too long from their middle or their beginning."""
        features = dict(self.tokenizer(texts, return_special_tokens_mask=True, verbose=False, **options))
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
        return features | {"truncated": [len(is_special) > self.max_length for is_special in special]}
