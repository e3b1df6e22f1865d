"""Why this answer: what each word of a text did for a label, as numbers, coloured text and HTML."""

from lightune.runs.explain.explanation import Explanation, Word, explain
from lightune.runs.explain.html import LEGEND, STYLE, fragment, page
from lightune.runs.explain.terminal import render

__all__ = ["LEGEND", "STYLE", "Explanation", "Word", "explain", "fragment", "page", "render"]
