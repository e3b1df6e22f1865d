"""Extractive question answering: a question and the text that holds its answer become windows of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.answers import find_answer_tokens, read_answers
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, check_texts, warn_of_rows
from lightune.data.preprocessors.lengths import check_length, check_offsets, truncate_texts
from lightune.data.preprocessors.windows import Place, check_stride, group_by_row, locate_tokens, ungroup

MAX_QUERY_LENGTH = 64  # tokens of a question, as in Devlin et al. (2019); the rest is cut off


@dataclass(kw_only=True, eq=False)
class QuestionAnsweringPreprocessor(Preprocessor):
    """Tokenize questions with their contexts, a long one in overlapping windows, and find the answers' tokens.

    Args:
        tokenizer: of the pretrained model; a fast one, which knows where its tokens lie in the text.
        question_column: questions.
        context_column: the texts that hold the answers.
        answers_column: ``{"text": […], "answer_start": […]}`` as in SQuAD; empty lists for no answer.
        version_2_with_negative: whether there may be no answer.
        max_length: tokens a window, question and special tokens counted.
        doc_stride: tokens of the context that neighbouring windows share.
    """

    tokenizer: PreTrainedTokenizerBase
    question_column: str = "question"
    context_column: str = "context"
    answers_column: str = "answers"
    version_2_with_negative: bool = False
    max_length: int = 384
    doc_stride: int = 128

    def __post_init__(self) -> None:
        check_offsets(self.tokenizer)
        check_length(self.tokenizer, self.max_length, least=16)
        self.max_query_length = min(MAX_QUERY_LENGTH, self.max_length // 2)
        room = self.max_length - self.max_query_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        check_stride(self.doc_stride, max_length=self.max_length, room=room, suggested=room // 2)
        self.input_columns = [self.question_column, self.context_column]
        self.prepared_inputs = ("question", "context")

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return ``question`` and ``context``, checked, with ``answers`` and ``answer_starts``."""
        columns = {"question_column": self.question_column, "context_column": self.context_column}
        columns |= {"answers_column": self.answers_column} if labelled else {}
        check_columns(rows, columns, split=split)
        check_texts(rows, self.input_columns, split=split)
        questions, contexts = (rows[column][:] for column in self.input_columns)
        prepared: dict[str, list[Any]] = {"question": questions, "context": contexts}
        if labelled:
            column, found = self.answers_column, []
            for number, (context, answers) in enumerate(zip(contexts, rows[column][:], strict=True), start=1):
                where = f"The {split} split, row {number}, column {column!r}"
                found.append(read_answers(answers, context, allow_none=self.version_2_with_negative, where=where))
            prepared["answers"] = [texts for texts, _, _ in found]
            prepared["answer_starts"] = [starts for _, starts, _ in found]
            moved = [number for number, (_, _, is_moved) in enumerate(found, start=1) if is_moved]
            what = "rows have an answer that is not at its answer_start; the nearest place of its text is taken"
            warn_of_rows(moved, len(rows), what, split=split)
        return Dataset.from_dict(prepared)

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows.

        In training each window is a row, its ``labels`` the first and last token of the answer. Otherwise a row keeps
        its windows as lists, with ``offsets``: where each token lies in the context, (-1, -1) outside.
        """
        encoded = self._tokenize(examples["question"], examples["context"])
        owners = encoded.pop("overflow_to_sample_mapping")
        offsets = []
        for window, spans in enumerate(encoded.pop("offset_mapping")):
            in_context = np.array(encoded.sequence_ids(window), dtype=float) == 1
            offsets.append(np.where(in_context[:, None], np.array(spans), -1))
        windows: dict[str, list[Any]] = dict(encoded)
        if "answers" in examples:
            windows["labels"] = [
                find_answer_tokens(spans, examples["answers"][row], examples["answer_starts"][row])
                for spans, row in zip(offsets, owners, strict=True)
            ]
        if training:
            return windows | {"length": [len(ids) for ids in windows["input_ids"]]}
        windows["offsets"] = [spans.tolist() for spans in offsets]
        features = group_by_row(windows, owners, num_rows=len(examples["question"]))
        features |= {name: examples[name] for name in ("context", "answers") if name in examples}
        return features | {"length": [sum(map(len, ids)) for ids in features["input_ids"]]}

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad the windows of all rows to one width.

        Returns:
            ``input_ids`` and ``attention_mask`` (windows, length), ``labels`` (windows, 2): the first and the last
            token of the answer. Held-out ``rows`` have ``offsets``, an array (windows of the row, length, 2) of
            characters, -1 outside the context; ``context``; and ``answers`` if known.
        """
        is_held_out = "offsets" in features[0]
        names = [name for name in features[0] if name not in {"length", "offsets", "context", "answers"}]
        windows = ungroup(features, names) if is_held_out else features
        batch = pad_inputs(self.tokenizer, windows, max_width=self.max_length, few_widths=few_widths)
        if "labels" in names:
            batch["labels"] = torch.tensor([window["labels"] for window in windows])
        if is_held_out:
            length = batch["input_ids"].shape[1]
            batch["rows"] = [
                {"offsets": np.array([spans + [[-1, -1]] * (length - len(spans)) for spans in row["offsets"]])}
                | {name: row[name] for name in ("context", "answers") if name in row}
                for row in features
            ]
        return batch

    def locate_tokens(self, texts: Sequence[str]) -> list[list[Place | None]]:
        """Return where the tokens of each window of one row lie in its question, which is stripped, and its context."""
        question, context = texts
        return locate_tokens(self._tokenize([question], [context]))

    def _tokenize(self, questions: list[str], contexts: list[str]) -> BatchEncoding:
        questions = [question.strip() for question in questions]
        return self.tokenizer(
            # the context needs its room
            truncate_texts(self.tokenizer, questions, tokens=self.max_query_length),
            contexts,
            truncation="only_second",
            max_length=self.max_length,
            stride=self.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
