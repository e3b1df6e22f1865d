"""Checks of words and their tags: both are lists without gaps, of one length, and tags are of known types."""

import logging
from collections.abc import Collection
from typing import Any

from datasets import ClassLabel, Dataset, List
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.bio_tags import PREFIXED, entity_types, label_names, no_scheme, read_spellings
from lightune.common.errors import UserError, listed, nearest
from lightune.data.preprocessors.columns import check_columns, check_filled

log = logging.getLogger(__name__)


def check_words(rows: Dataset, column: str, *, split: str, allow_raw: bool) -> None:
    """Raise a UserError unless a column holds lists of words, none missing, or raw texts where ``allow_raw``."""
    check_columns(rows, {"tokens_column": column}, split=split)
    check_filled(rows, [column], split=split)
    feature = rows.features[column]
    if not isinstance(feature, List):
        if allow_raw and getattr(feature, "dtype", None) in ("string", "large_string"):
            return
        raise UserError(
            f"data.tokens_column={column}: the {split} split has {rows[0][column]!r:.80} there, not a list of words.\n"
            'Expected JSONL or Parquet with lists such as ["Anna", "lives", "in", "Oslo"], or a CoNLL file.'
        )
    for index, words in enumerate(rows[column][:]):
        if wrong := [word for word in words if not isinstance(word, str)]:
            where = f"The {split} split, row {index + 1}, column {column!r}"
            raise UserError(f"{where}: {wrong[0]!r} is not a word.\nExpected lists of words.")


def infer_tag_names(train: Dataset, tokens_column: str, label_column: str) -> list[str]:
    """Return all tags, a ``ClassLabel``'s in its order, else by type; UserError as ``read_tags``, or for no entity."""
    tags = read_tags(train, tokens_column, label_column, types=None, split="train")
    names = getattr(train.features[label_column].feature, "names", None)
    if names is None:
        names = label_names(sorted(entity_types(tag for row in tags for tag in row)))
    else:
        names = dict.fromkeys(read_spellings(names).values())
    if not entity_types(names):
        raise UserError(
            f"data.label_column={label_column}: the training rows have no tag other than O: there is nothing to learn.\n"
            "Expected tags such as B-PER, I-PER and O."
        )
    return list(names)


def read_tags(
    rows: Dataset, tokens_column: str, label_column: str, *, types: Collection[str] | None, split: str
) -> list[list[str]]:
    """Return the tags of each row by their names; ``types`` are those that tags may name, None: any.

    How tags are read that are not written as O, B-TYPE and I-TYPE is logged.

    Raises:
        UserError: a column does not hold lists, tags are numbers without names, a row has more or
            fewer tags than words, or a tag is missing, fits no scheme or is of another type; names the row.
    """
    check_words(rows, tokens_column, split=split, allow_raw=False)
    feature = rows.features[label_column]
    if not isinstance(feature, List):
        raise UserError(
            f"data.label_column={label_column}: the {split} split has {rows[0][label_column]!r:.80} there, not a list "
            'of tags.\nExpected a tag for each word, such as ["B-PER", "O", "O", "B-LOC"].'
        )
    names = feature.feature.names if isinstance(feature.feature, ClassLabel) else None
    if names is None and str(getattr(feature.feature, "dtype", "")).startswith(("int", "uint", "float")):
        raise UserError(
            f"data.label_column={label_column}: the tags of the {split} split are numbers without names.\n"
            "Expected words such as B-PER, I-PER and O, or a ClassLabel column, which holds the names."
        )
    tags_of_rows = []
    for index, (words, values) in enumerate(zip(rows[tokens_column][:], rows[label_column][:], strict=True)):
        where = f"The {split} split, row {index + 1}, column {label_column!r}"
        if values is None:
            raise UserError(f"{where}: there are no tags.\nFill or remove the row, or name a labelled split.")
        if len(values) != len(words):
            raise UserError(
                f"{where}: {len(values)} tags for {len(words)} words.\nExpected one tag for each word of {words!r:.80}."
            )
        tags_of_rows.append([_name(value, names, where) for value in values])
    # a type without a prefix may look like a tag with one where others are missing: b_cell
    spellings = read_spellings(tag for tags in tags_of_rows for tag in tags) | {kind: kind for kind in types or ()}
    for index, tags in enumerate(tags_of_rows):
        where = f"The {split} split, row {index + 1}, column {label_column!r}"
        for tag in tags:
            if tag not in spellings:
                raise UserError(f"{where}: {no_scheme(tag, spellings)}")
        tags[:] = [spellings[tag] for tag in tags]
        for kind in entity_types(tags):
            if types is not None and kind not in types:
                raise UserError(f"{where}: the training rows have no {kind!r}. {nearest(kind, types)}")
    told = [f"{tag} as {read}" for tag, read in spellings.items() if tag != read]
    told = told or [f"{tag} as a type" for tag in spellings if tag != "O" and not PREFIXED.fullmatch(tag)]
    if told and types is None:
        rank_zero_only(log.info)(f"data.label_column={label_column}: how tags are read: {listed(told)}")
    return tags_of_rows


def _name(value: Any, names: list[str] | None, where: str) -> str:
    if names is not None and value is not None:
        if not 0 <= value < len(names):
            raise UserError(
                f"{where}: {value} is not one of the {len(names)} tags that the column names.\n"
                "-1 marks rows without tags: name a labelled split."
            )
        value = names[value]
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {value!r} is not a tag.\nExpected O, B-TYPE or I-TYPE for each word.")
    return value.strip()
