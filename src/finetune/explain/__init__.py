"""Why this answer: what each word of a text did for a label, as numbers, coloured text and HTML."""

from finetune.explain.explanation import Explanation, Word, explain
from finetune.explain.html import LEGEND, STYLE, fragment, page
from finetune.explain.terminal import render

__all__ = ["LEGEND", "STYLE", "Explanation", "Word", "explain", "fragment", "page", "render"]
