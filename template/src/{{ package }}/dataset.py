"""What is particular to this data set."""

import re
from typing import Any

from lightune.data import TextClassificationPreprocessor

MARKUP = re.compile(r"<[^<>]*>")


class Reviews(TextClassificationPreprocessor):
    """Reviews without the markup of the pages that they were taken from, in training and in prediction."""

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        cleaned = {name: [without_markup(str(text)) for text in examples[name]] for name in self.input_columns}
        return super().__call__(examples | cleaned, training=training)


def without_markup(text: str) -> str:
    """Replace tags such as ``<br />`` by spaces, as many: the words keep their places, which explanations show."""
    return MARKUP.sub(lambda tag: " " * len(tag[0]), text)
