"""SQuAD's own files, versions 1.1 and 2.0, become a row a question."""

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from finetune.data.text_files import not_utf8, open_text
from finetune.errors import UserError

FEATURES = Features(
    {
        "id": Value("string"),
        "title": Value("string"),
        "context": Value("string"),
        "question": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
)
PEEK = 4096  # characters that tell what a file is


def is_squad(path: Path) -> bool:
    """Say whether a JSON file looks like SQuAD's, by its beginning."""
    try:
        with open_text(path) as file:
            start = "".join(file.read(PEEK).split())
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    return start.startswith("{") and '"data":[{' in start and '"paragraphs":[' in start


def read_squad(path: Path) -> Dataset:
    """Read a file of ``{"data": [{"title", "paragraphs": [{"context", "qas": […]}]}]}`` into the Hub's columns.

    Source: Rajpurkar et al. (2016, 2018).

    Raises:
        UserError: it is not well-formed; names the article and paragraph.
    """
    try:
        with open_text(path) as file:
            articles = json.load(file)["data"]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not well-formed JSON: {error}.") from error
    rows: list[dict[str, Any]] = []
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(article.get("paragraphs", [])):
            try:
                rows += [_row(article, paragraph, qa) for qa in paragraph["qas"]]
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path}: article {a + 1}, paragraph {p + 1}: {error} is missing or not as expected.\n"
                    'Expected {"context": "…", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}'
                ) from error
    return Dataset.from_list(rows, features=FEATURES)


def _row(article: dict[str, Any], paragraph: dict[str, Any], qa: dict[str, Any]) -> dict[str, Any]:
    answers = [] if qa.get("is_impossible") else qa["answers"]
    return {
        "id": str(qa["id"]),
        "title": article.get("title", ""),
        "context": paragraph["context"],
        "question": qa["question"],
        "answers": {
            "text": [answer["text"] for answer in answers],
            "answer_start": [answer["answer_start"] for answer in answers],
        },
    }
