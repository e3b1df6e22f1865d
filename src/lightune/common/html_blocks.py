"""Blocks that a report's sections are made of; the page escapes all of them but ``Plots`` and ``Html``."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Code(NamedTuple):
    """Text in a typewriter's letters, such as a command."""

    text: str


class Table(NamedTuple):
    """Rows of cells, the first of each its name; where ``folded`` only the caption is shown until it is clicked."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


class Matrix(NamedTuple):
    """Counts, rows true and columns predicted, shaded by their share of the row."""

    names: Sequence[str]
    counts: Sequence[Sequence[int]]


class Scatter(NamedTuple):
    """A dot a row, which the report draws; values (rows,)."""

    title: str
    x_values: np.ndarray
    y_values: np.ndarray
    x: str
    y: str


class Plots(NamedTuple):
    """SVGs beside each other, each under a title."""

    plots: Sequence[tuple[str, Markup]]


class Rows(NamedTuple):
    """Rows of the data: for each a heading, and its texts by their names."""

    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


class Html(NamedTuple):
    """Markup of another module, which has escaped its texts."""

    markup: Markup


Block = Text | Code | Table | Matrix | Scatter | Plots | Rows | Html


class Section(NamedTuple):
    """A heading and the blocks under it."""

    title: str
    blocks: Sequence[Block]
