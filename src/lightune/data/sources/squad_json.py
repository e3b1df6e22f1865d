"""SQuAD's own files, versions 1.1 and 2.0, become one row a question."""

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.sources.text_files import open_text

FEATURES = Features(
    dict.fromkeys(("id", "title", "context", "question"), Value("string"))
    | {"answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))}}
)


def is_squad(start: str) -> bool:
    """Say by its first characters whether a JSON file looks like one of SQuAD's."""
    start = "".join(start.split())
    return start.startswith("{") and '"data":[{' in start and '"paragraphs":[' in start


def read_squad(path: Path) -> Dataset:
    """Read a file of ``{"data": [{"title", "paragraphs": [{"context", "qas": […]}]}]}`` into the Hub's columns.

    Source: Rajpurkar et al. (2016, 2018). UserError, with the place, for what is malformed, and for no question.
    """
    try:
        with open_text(path) as file:
            articles = _typed(list, json.load(file), "data")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not well-formed JSON: {error}.") from error
    rows: list[dict[str, Any]] = []
    for article_number, article in enumerate(articles, start=1):
        where = f"article {article_number}"
        try:
            for number, paragraph in enumerate(_typed(list, article, "paragraphs"), start=1):
                where = f"article {article_number}, paragraph {number}"
                rows += [_row(article, paragraph, qa) for qa in _typed(list, paragraph, "qas")]
        except (TypeError, UnicodeEncodeError) as error:
            raise UserError(
                f"{path}: {where}: {error}.\n"
                'Expected {"context": "…", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}'
            ) from error
    if not rows:
        raise UserError(f'{path}: there are no questions.\nExpected some in the "qas" of a paragraph.')
    return Dataset.from_list(rows, features=FEATURES)


def _row(article: dict[str, Any], paragraph: Any, qa: Any) -> dict[str, Any]:
    answers = [] if isinstance(qa, dict) and qa.get("is_impossible") else _typed(list, qa, "answers")
    return {
        "id": str(_typed(str | int, qa, "id")),
        "title": str(article.get("title", "")),
        "context": _typed(str, paragraph, "context"),
        "question": _typed(str, qa, "question"),
        "answers": {
            "text": [_typed(str, answer, "text") for answer in answers],
            "answer_start": [_typed(int, answer, "answer_start") for answer in answers],
        },
    }


def _typed(kind: Any, node: Any, key: str) -> Any:
    """Return a value of an object, checked: it is there, of its kind, and fits Arrow's columns."""
    value = node.get(key) if isinstance(node, dict) else None
    if not isinstance(value, kind) or (kind is int and abs(value) >= 2**31):
        raise TypeError(f"{key!r} is missing or not as expected: {value!r:.60}")
    if isinstance(value, str):
        value.encode()  # a lone surrogate is not a text
    return value
