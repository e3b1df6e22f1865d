"""Token classification: words with a tag each, such as named entities, become windows of token ids."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, List, Value
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.common.bio_tags import entity_types, label_names, to_bio
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.labels import NO_LABEL, head_of
from lightune.data.preprocessors.lengths import check_length, check_offsets
from lightune.data.preprocessors.span_columns import tag_spans
from lightune.data.preprocessors.tag_columns import check_words, infer_tag_names, read_tags
from lightune.data.preprocessors.windows import Place, check_stride, group_by_row, locate_tokens, ungroup
from lightune.data.preprocessors.words import Words, join_words, split_words

log = logging.getLogger(__name__)

PADDING_VALUES = {"labels": -100, "words": -1}
ROW_FIELDS = ("text", "offsets", "joined", "tags")  # of a held-out row, besides its windows


@dataclass(kw_only=True, eq=False)
class TokenClassificationPreprocessor(Preprocessor):
    """Tokenize lists of words and encode their tags.

    Words are joined by single spaces and read as one text, as the model was pretrained on: a token belongs to the
    word that holds its last character, and the first token of a word carries its label (Devlin et al., 2019).
    Texts of more than ``max_length`` tokens are read in overlapping windows; each word counts in exactly one,
    the one where it is farther from the edge. Tags of any scheme become BIO.

    Args:
        tokenizer: of the pretrained model; a fast one, which knows where its tokens lie in the text.
        tokens_column: lists of words; to predict, or with spans, raw texts too.
        label_column: lists of tags of the same lengths: names, or indices of a ``ClassLabel``; or lists of spans.
        max_length: tokens a window, special tokens counted.
        doc_stride: tokens that neighbouring windows share.
    """

    tokenizer: PreTrainedTokenizerBase
    tokens_column: str = "tokens"
    label_column: str = "ner_tags"
    max_length: int = 128
    doc_stride: int = 32

    def __post_init__(self) -> None:
        check_offsets(self.tokenizer)
        check_length(self.tokenizer, self.max_length)
        self.room = self.max_length - self.tokenizer.num_special_tokens_to_add()
        check_stride(self.doc_stride, max_length=self.max_length, room=self.room, suggested=self.room // 4)
        self.input_columns = [self.tokens_column]
        self.prepared_inputs = ("words",)
        self.label_names: list[str] = []

    @property
    def head(self) -> dict[str, Any]:
        """The configuration of a head that fits the tags; known after ``fit``."""
        assert self.label_names, "fit() has not been called"
        return head_of(self.label_names)

    def fit(self, train: Dataset) -> None:
        """Learn the entity types from the training rows: O, B-TYPE and I-TYPE are the labels."""
        train = tag_spans(train, self.tokens_column, self.label_column, split="train")
        names = infer_tag_names(train, self.tokens_column, self.label_column)
        canonical = label_names(entity_types(names))
        self.label_names = names if set(names) == set(canonical) else canonical

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return the ``words``, checked, with their BIO ``tags``."""
        if labelled:
            given, rows = rows, tag_spans(rows, self.tokens_column, self.label_column, split=split)
            if len(rows) < len(given):
                log.info(f"{split}: {len(given) - len(rows):,} of {len(given):,} rows left out: rejected or ignored")
        else:
            check_words(rows, self.tokens_column, split=split, allow_raw=True)
        prepared = rows.select_columns([self.tokens_column])
        if self.tokens_column != "words":
            prepared = prepared.rename_column(self.tokens_column, "words")
        if not labelled:
            return prepared
        assert self.label_names, "fit() has not been called"
        types = entity_types(self.label_names)
        tags = read_tags(rows, self.tokens_column, self.label_column, types=types, split=split)
        self._log_long_texts(prepared["words"], split=split)
        return prepared.add_column("tags", [to_bio(row) for row in tags], feature=List(Value("string")))

    def prepare_unlabelled(self, rows: Dataset) -> Dataset:
        """Return the ``words``, checked, with ``tags`` that are None."""
        prepared = self.prepare(rows, split="unlabelled", labelled=False)
        tags = [[None] * len(_read(words).offsets) for words in prepared["words"]]
        return prepared.add_column("tags", tags, feature=List(Value("string")))

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize a batch of rows.

        In training each window is a row: the model's inputs and ``labels``. Otherwise a row keeps its windows as
        lists, with ``words`` (for each token the word whose label it carries, else -1), ``text``, ``offsets`` of the
        words, ``joined`` (whether the row was a list of words), and ``tags`` if known.
        """
        texts = [_read(words) for words in examples["words"]]
        encoded = self._tokenize([words.text for words in texts])
        owners = encoded.pop("overflow_to_sample_mapping")
        features: dict[str, list[Any]] = group_by_row(encoded, owners, num_rows=len(texts))
        places = zip(texts, features.pop("offset_mapping"), features.pop("special_tokens_mask"), strict=True)
        features["words"] = [
            text.label_tokens(offsets, special, overlap=self.doc_stride) for text, offsets, special in places
        ]
        if "tags" in examples:
            indices = {name: index for index, name in enumerate(self.label_names)} | {None: NO_LABEL}
            features["labels"] = [
                [[indices[tags[word]] if word >= 0 else -100 for word in window] for window in windows]
                for tags, windows in zip(examples["tags"], features["words"], strict=True)
            ]
        if training:
            del features["words"]
            features = {name: [window for row in rows for window in row] for name, rows in features.items()}
            return features | {"length": [len(ids) for ids in features["input_ids"]]}
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
            ``input_ids``, ``attention_mask`` and ``labels`` (windows, length), where ``labels`` is -100 except at
            the first token of a word. Held-out ``rows`` have ``words``, an array (windows of the row, length) of word
            indices or -1; ``text``, ``offsets``, ``joined``, and ``tags`` if known.
        """
        settings: dict[str, Any] = {"max_width": self.max_length, "few_widths": few_widths, **PADDING_VALUES}
        if "words" not in features[0]:
            return pad_inputs(self.tokenizer, features, **settings)
        names = [name for name in features[0] if name not in {"length", *ROW_FIELDS}]
        batch = pad_inputs(self.tokenizer, ungroup(features, names), **settings)
        window_counts = [len(row["words"]) for row in features]
        words_of_rows = np.split(batch.pop("words").numpy(), np.cumsum(window_counts)[:-1])
        batch["rows"] = [
            {"words": words} | {name: row[name] for name in ROW_FIELDS if name in row}
            for row, words in zip(features, words_of_rows, strict=True)
        ]
        return batch

    def locate_tokens(self, texts: Sequence[str | list[str]]) -> list[list[Place | None]]:
        """Return where the tokens of each window of one row lie in its text, given alone or as its words."""
        return locate_tokens(self._tokenize([_read(words).text for words in texts]))

    def _tokenize(self, texts: list[str]) -> BatchEncoding:
        return self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_length,
            stride=self.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )

    def _log_long_texts(self, rows: Iterable[list[str]], *, split: str) -> None:
        texts = [" ".join(words) for words in rows]
        # a token has a byte or more, so only these can be too long
        candidates = [text for text in texts if len(text.encode()) > self.room]
        ids = self.tokenizer(candidates, add_special_tokens=False, verbose=False)["input_ids"] if candidates else []
        if count := sum(len(row) > self.room for row in ids):
            log.info(
                f"{split}: {count:,} of {len(texts):,} texts have more than data.max_length={self.max_length} "
                "tokens; they are read in windows, no word is cut off"
            )


def _read(words: str | list[str]) -> Words:
    return split_words(words) if isinstance(words, str) else join_words(words)
