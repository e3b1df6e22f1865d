"""Spans of characters, as Doccano, Prodigy and spaCy mark entities, become a tag for each word."""

from typing import Any

from datasets import Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.preprocessors.columns import check_columns
from lightune.data.preprocessors.words import split_words

NAMES = (("start", "start_offset"), ("end", "end_offset"), ("label", "type"))  # of a span's parts


def tag_spans(rows: Dataset, tokens_column: str, label_column: str, *, split: str) -> Dataset:
    """Return rows of raw texts and spans as rows of words and tags, in the same columns; any other rows as they are.

    A span is ``[start, end, type]`` or a dictionary of the same. Words are those of a raw text to predict. Rows that a
    person rejected in Prodigy are left out. UserError, which names the row, for a span that is malformed, overlaps
    another, or begins or ends inside a word.
    """
    check_columns(rows, {"tokens_column": tokens_column, "label_column": label_column}, split=split)
    if getattr(rows.features[tokens_column], "dtype", None) not in ("string", "large_string"):
        return rows
    labels = rows[label_column][:]
    lists = [value for value in labels if isinstance(value, list)]
    if not lists or not all(isinstance(span, (list, dict)) for value in lists for span in value[:1]):
        return rows
    answers = rows["answer"][:] if "answer" in rows.column_names else [None] * len(rows)
    tagged: dict[str, list[list[str]]] = {tokens_column: [], label_column: []}
    for number, (text, spans, answer) in enumerate(zip(rows[tokens_column][:], labels, answers, strict=True), start=1):
        if answer in ("reject", "ignore"):
            continue
        try:
            words, tags = _tag_words(text, spans)
        except ValueError as error:
            raise UserError(
                f"The {split} split, row {number}, column {label_column!r}: {error}.\n"
                "Expected [start, end, type] of whole words, counted in characters; or lists of words and of tags."
            ) from error
        tagged[tokens_column].append(words)
        tagged[label_column].append(tags)
    return Dataset.from_dict(tagged, features=Features(dict.fromkeys(tagged, List(Value("string")))))


def _tag_words(text: Any, spans: Any) -> tuple[list[str], list[str]]:
    if text is None or spans is None:
        raise ValueError("there is no text, or no list of spans")
    offsets = split_words(text).offsets
    tags = ["O"] * len(offsets)
    for span in spans:
        start, end, kind = _parts(span, text)
        inside = [word for word, (first, last) in enumerate(offsets) if first < end and last > start]
        if not inside or (offsets[inside[0]][0], offsets[inside[-1]][1]) != (start, end):
            raise ValueError(f"{span!r:.80} is {text[start:end]!r:.60}, which is not whole words")
        if any(tags[word] != "O" for word in inside):
            raise ValueError(f"{span!r:.80} overlaps another span")
        tags[inside[0] : inside[-1] + 1] = [f"B-{kind}", *[f"I-{kind}"] * (len(inside) - 1)]
    return [text[start:end] for start, end in offsets], tags


def _parts(span: Any, text: str) -> tuple[int, int, str]:
    """Return the start, the end and the type of a span, without the spaces around it."""
    if isinstance(span, dict):
        span = [next((span[name] for name in names if span.get(name) is not None), None) for names in NAMES]
    known: Any = span if isinstance(span, list) and [*map(type, span)] == [int, int, str] else (0, 0, "")
    start, end, kind = known
    if not 0 <= start < end <= len(text) or not kind.strip():
        raise ValueError(f"{span!r:.80} is no span of a text of {len(text)} characters")
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return start, start + len(text[start:end].rstrip()), kind.strip()
