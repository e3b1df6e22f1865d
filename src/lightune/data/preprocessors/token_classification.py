"""Token classification: words with a tag each, such as named entities, become windows of token ids."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, List, Value
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.common.tags import entity_types, label_names, to_bio
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.lengths import check_length, check_offsets, check_stride
from lightune.data.preprocessors.places import Place, locate_tokens
from lightune.data.preprocessors.tag_columns import check_words, read_tags, tag_names
from lightune.data.preprocessors.words import Words, join_words, split_words

log = logging.getLogger(__name__)

PADDING = {"labels": -100, "words": -1}
TOLD = ("text", "offsets", "joined", "tags")  # what a held-out batch says of a row, besides its tokens


class TokenClassificationPreprocessor:
    """Tokenize lists of words and encode their tags.

    Words are joined by single spaces and read as one text, as the model was pretrained on: a token belongs to the
    word that its last character lies in, and the first token of a word carries its label (Devlin et al., 2019).
    Texts of more than ``max_length`` tokens are read in overlapping windows; each word counts in exactly one,
    the one where it stands farther from the edge. Tags of any scheme become BIO.

    Args:
        tokenizer: of the pretrained model; a fast one, which knows where its tokens lie in the text.
        tokens_column: lists of words; to predict, raw texts too.
        label_column: lists of tags of the same lengths: words, or indices of a ``ClassLabel``.
        max_length: tokens a window, special tokens counted.
        doc_stride: tokens that neighbouring windows share.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        tokens_column: str,
        label_column: str,
        max_length: int,
        doc_stride: int,
    ) -> None:
        check_offsets(tokenizer)
        check_length(tokenizer, max_length)
        self.room = max_length - tokenizer.num_special_tokens_to_add()
        check_stride(doc_stride, max_length=max_length, room=self.room, suggested=self.room // 4)
        tokenizer.truncation_side = "right"  # windows are counted from the left
        self.tokenizer = tokenizer
        self.input_columns = [tokens_column]
        self.tokens_column = tokens_column
        self.label_column = label_column
        self.max_length = max_length
        self.doc_stride = doc_stride
        self.label_names: list[str] = []

    @property
    def head(self) -> dict[str, Any]:
        """What the model's configuration must say for its head to fit the data; known after :meth:`fit`."""
        assert self.label_names, "fit() has not been called"
        return {
            "num_labels": len(self.label_names),
            "id2label": dict(enumerate(self.label_names)),
            "label2id": {name: index for index, name in enumerate(self.label_names)},
        }

    def fit(self, train: Dataset) -> None:
        """Learn the entity types from the training rows: O, B-TYPE and I-TYPE are the labels."""
        given = tag_names(train, self.tokens_column, self.label_column)
        canonical = label_names(entity_types(given))
        self.label_names = given if set(given) == set(canonical) else canonical

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Keep the words, checked, as ``words`` with their BIO ``tags`` beside them.

        Raises:
            UserError: a column, a word or a tag is missing, or a tag's type is unknown; names the row.
        """
        check_words(rows, self.tokens_column, split=split, raw=not labelled)
        prepared = rows.select_columns([self.tokens_column])
        if self.tokens_column != "words":
            prepared = prepared.rename_column(self.tokens_column, "words")
        if not labelled:
            return prepared
        assert self.label_names, "fit() has not been called"
        tags = read_tags(
            rows, self.tokens_column, self.label_column, types=entity_types(self.label_names), split=split
        )
        self._say_what_is_long(prepared["words"], split=split)
        return prepared.add_column("tags", [to_bio(row) for row in tags], feature=List(Value("string")))

    def strata(self, prepared: Dataset) -> None:
        """Return None: a row has many tags, so splits are random."""

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows; padding waits for :meth:`collate`.

        In training each window is a row: the model's inputs and ``labels``. Otherwise a row keeps its windows as
        lists, with ``words`` (for each token the word that it speaks for, else -1), ``text``, ``offsets`` of the
        words, ``joined`` (whether it was given as words), and ``tags`` where known.
        """
        texts = [_read(words) for words in examples["words"]]
        encoded = self._windows([words.text for words in texts])
        owners = np.asarray(encoded.pop("overflow_to_sample_mapping"))
        offsets, special = encoded.pop("offset_mapping"), encoded.pop("special_tokens_mask")
        rows: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            windows = np.flatnonzero(owners == index).tolist()
            row: dict[str, Any] = {name: [values[w] for w in windows] for name, values in encoded.items()}
            row["words"] = text.spoken_for(
                [offsets[w] for w in windows], [special[w] for w in windows], overlap=self.doc_stride
            )
            if "tags" in examples:
                labels = [self.label_names.index(tag) for tag in examples["tags"][index]]
                row["labels"] = [[labels[word] if word >= 0 else -100 for word in w] for w in row["words"]]
            rows.append(row)
        if training:
            names = [name for name in rows[0] if name != "words"]
            features = {name: [window for row in rows for window in row[name]] for name in names}
            return features | {"length": [len(ids) for ids in features["input_ids"]]}
        features = {name: [row[name] for row in rows] for name in rows[0]}
        return {
            **features,
            "length": [sum(map(len, windows)) for windows in features["input_ids"]],
            "text": [text.text for text in texts],
            "offsets": [text.offsets for text in texts],
            "joined": [not isinstance(words, str) for words in examples["words"]],
            **({"tags": examples["tags"]} if "tags" in examples else {}),
        }

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad the windows of all rows to one width.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels`` (windows, length), where ``labels`` is -100 but at the
            first token of a word. Held-out batches also have ``rows``, a dictionary a row: ``words``, an array
            (windows of the row, length) of word indices or -1; ``text``, ``offsets``, ``joined``, ``tags``.
        """
        if "words" not in features[0]:
            return self._pad(features, few_widths=few_widths)
        sizes = [len(row["words"]) for row in features]
        nested = [name for name in features[0] if name not in {"length", *TOLD}]
        batch = self._pad(
            [{name: row[name][w] for name in nested} for row in features for w in range(len(row["words"]))],
            few_widths=few_widths,
        )
        words = np.split(batch.pop("words").numpy(), np.cumsum(sizes)[:-1])
        batch["rows"] = [
            {"words": mine} | {name: row[name] for name in TOLD if name in row}
            for row, mine in zip(features, words, strict=True)
        ]
        return batch

    def locate_tokens(self, texts: Sequence[str | list[str]]) -> list[list[Place | None]]:
        """Say where the tokens of each window of one row lie in its text, which is given alone or as its words."""
        encoded = self._windows([_read(words).text for words in texts])
        return [locate_tokens(encoded, window) for window in range(len(encoded["input_ids"]))]

    def _windows(self, texts: list[str]) -> BatchEncoding:
        return self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_length,
            stride=self.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )

    def _pad(self, windows: list[dict[str, Any]], *, few_widths: bool) -> dict[str, Any]:
        inputs = [{k: v for k, v in window.items() if k not in {"length", *PADDING}} for window in windows]
        batch = pad_inputs(self.tokenizer, inputs, most=self.max_length, few=few_widths)
        length = batch["input_ids"].shape[1]
        for name in PADDING.keys() & windows[0].keys():
            batch[name] = torch.full((len(windows), length), PADDING[name])
            for row, window in zip(batch[name], windows, strict=True):
                begin = 0 if self.tokenizer.padding_side == "right" else length - len(window[name])
                row[begin : begin + len(window[name])] = torch.tensor(window[name])
        return batch

    def _say_what_is_long(self, rows: Iterable[list[str]], *, split: str) -> None:
        texts = [" ".join(words) for words in rows]
        # a token takes a byte or more, so only these can be too long
        candidates = [text for text in texts if len(text.encode()) > self.room]
        if not candidates:
            return
        ids = self.tokenizer(candidates, add_special_tokens=False, verbose=False)["input_ids"]
        long = sum(len(row) > self.room for row in ids)
        if long:
            log.info(
                f"{split}: {long:,} of {len(texts):,} texts have more than data.max_length={self.max_length} "
                "tokens; they are read in windows, no word is cut off"
            )


def _read(words: str | list[str]) -> Words:
    return split_words(words) if isinstance(words, str) else join_words(words)
