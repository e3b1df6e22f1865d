"""Explanations: the effect of each word of a text on a label, as numbers, coloured text and HTML."""

from lightune.runs.explain.explanation import Explanation, Word, check_explainable, explain
from lightune.runs.explain.html import LEGEND, fragment, page
from lightune.runs.explain.terminal import render

__all__ = ["LEGEND", "Explanation", "Word", "check_explainable", "explain", "fragment", "page", "render"]
