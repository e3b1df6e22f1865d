"""Extractive question answering: a question and the text that holds its answer become windows of token ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.answers import answer_tokens, read_answers
from lightune.data.preprocessors.columns import check_columns, check_texts
from lightune.data.preprocessors.lengths import check_length, check_offsets, check_stride, cut
from lightune.data.preprocessors.places import Place, locate_tokens

MAX_QUERY_LENGTH = 64  # tokens of a question, as in Devlin et al. (2019); the rest is cut off


class QuestionAnsweringPreprocessor:
    """Tokenize questions with their contexts, a long one in overlapping windows, and find the answers' tokens.

    Args:
        tokenizer: of the pretrained model; a fast one, which knows where its tokens lie in the text.
        question_column: questions.
        context_column: the texts that they are asked of.
        answers_column: ``{"text": […], "answer_start": […]}`` as in SQuAD; empty lists where there is no answer.
        version_2_with_negative: whether there may be none.
        max_length: tokens a window, question and special tokens counted.
        doc_stride: tokens of the context that neighbouring windows share.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        question_column: str,
        context_column: str,
        answers_column: str,
        version_2_with_negative: bool,
        max_length: int,
        doc_stride: int,
    ) -> None:
        check_offsets(tokenizer)
        check_length(tokenizer, max_length, least=16)
        self.max_query_length = min(MAX_QUERY_LENGTH, max_length // 2)
        room = max_length - self.max_query_length - tokenizer.num_special_tokens_to_add(pair=True)
        check_stride(doc_stride, max_length=max_length, room=room, suggested=room // 2)
        self.tokenizer = tokenizer
        self.input_columns = [question_column, context_column]
        self.answers_column = answers_column
        self.version_2_with_negative = version_2_with_negative
        self.max_length = max_length
        self.doc_stride = doc_stride
        self.head: dict[str, Any] = {}

    def fit(self, train: Dataset) -> None:
        """Do nothing: answers are places in the text."""

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Keep ``question`` and ``context``, checked, with ``answers`` and ``answer_starts`` beside them.

        Raises:
            UserError: a column or a text is missing, or an answer does not lie where it should; names the row.
        """
        question, context = self.input_columns
        columns = {"question_column": question, "context_column": context}
        check_columns(
            rows, columns | ({"answers_column": self.answers_column} if labelled else {}), split=split
        )
        check_texts(rows, self.input_columns, split=split)
        prepared: dict[str, list[Any]] = {"question": list(rows[question]), "context": list(rows[context])}
        if labelled:
            prepared |= {"answers": [], "answer_starts": []}
            for index, (text, answers) in enumerate(
                zip(prepared["context"], rows[self.answers_column], strict=True)
            ):
                where = f"The {split} split, row {index + 1}, column {self.answers_column!r}"
                texts, starts = read_answers(
                    answers, text, may_be_none=self.version_2_with_negative, where=where
                )
                prepared["answers"].append(texts)
                prepared["answer_starts"].append(starts)
        return Dataset.from_dict(prepared)

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return None: questions have no classes."""
        return None

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows; padding waits for :meth:`collate`.

        In training each window is a row, its ``labels`` the first and last token of the answer. Otherwise a row keeps
        its windows as lists, with ``offsets``: for each token where it lies in the context, (-1, -1) outside.
        """
        encoded = self._windows(examples["question"], examples["context"])
        owners = encoded.pop("overflow_to_sample_mapping")
        offsets = []
        for window, spans in enumerate(encoded.pop("offset_mapping")):
            in_context = np.array(encoded.sequence_ids(window), dtype=float) == 1
            offsets.append(np.where(in_context[:, None], np.array(spans), -1))
        windows: dict[str, list[Any]] = dict(encoded)
        if "answers" in examples:
            windows["labels"] = [
                answer_tokens(spans, examples["answers"][row], examples["answer_starts"][row])
                for spans, row in zip(offsets, owners, strict=True)
            ]
        if training:
            return windows | {"length": [len(ids) for ids in windows["input_ids"]]}
        windows["offsets"] = [spans.tolist() for spans in offsets]
        rows = len(examples["question"])
        features: dict[str, list[Any]] = {name: [[] for _ in range(rows)] for name in windows}
        for window, row in enumerate(owners):
            for name, values in windows.items():
                features[name][row].append(values[window])
        told = {name: examples[name] for name in ("context", "answers") if name in examples}
        return features | told | {"length": [sum(map(len, ids)) for ids in features["input_ids"]]}

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad the windows of all rows to one width.

        Returns:
            ``input_ids`` and ``attention_mask`` (windows, length), ``labels`` (windows, 2): the first and the last token
            of the answer. Held-out batches also have ``rows``, a dictionary a row: ``offsets``, an array (windows of the
            row, length, 2) of characters, -1 outside the context; ``context``; ``answers`` where known.
        """
        if "offsets" not in features[0]:
            return self._pad(features, few_widths=few_widths)
        nested = [name for name in features[0] if name not in {"length", "offsets", "context", "answers"}]
        windows = [
            {name: row[name][window] for name in nested}
            for row in features
            for window in range(len(row["input_ids"]))
        ]
        batch = self._pad(windows, few_widths=few_widths)
        length = batch["input_ids"].shape[1]
        batch["rows"] = []
        for row in features:
            offsets = np.full((len(row["offsets"]), length, 2), -1)
            for window, spans in zip(offsets, row["offsets"], strict=True):
                window[: len(spans)] = spans
            told = {name: row[name] for name in ("context", "answers") if name in row}
            batch["rows"].append({"offsets": offsets} | told)
        return batch

    def locate_tokens(self, texts: Sequence[str]) -> list[list[Place | None]]:
        """Say where the tokens of each window of one row lie in its question, which is stripped, and its context."""
        question, context = texts
        encoded = self._windows([question], [context])
        return [locate_tokens(encoded, window) for window in range(len(encoded["input_ids"]))]

    def _windows(self, questions: list[str], contexts: list[str]) -> BatchEncoding:
        questions = [question.strip() for question in questions]
        return self.tokenizer(
            cut(self.tokenizer, questions, tokens=self.max_query_length),  # the context needs its room
            contexts,
            truncation="only_second",
            max_length=self.max_length,
            stride=self.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def _pad(self, windows: list[dict[str, Any]], *, few_widths: bool) -> dict[str, Any]:
        inputs = [{k: v for k, v in window.items() if k not in {"labels", "length"}} for window in windows]
        batch = pad_inputs(self.tokenizer, inputs, most=self.max_length, few=few_widths, side="right")
        if "labels" in windows[0]:
            batch["labels"] = torch.tensor([window["labels"] for window in windows])
        return batch
