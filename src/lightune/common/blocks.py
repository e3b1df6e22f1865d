"""Blocks that a report's sections are made of; the page escapes all of them but :class:`Plots` and :class:`Html`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar = "text"


@dataclass(frozen=True)
class Code:
    """Text in a typewriter's letters, such as a command."""

    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each its name; where ``folded`` only the caption is shown until it is clicked."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False
    kind: ClassVar = "table"


@dataclass(frozen=True)
class Matrix:
    """Counts, rows true and columns predicted, shaded by their share of the row."""

    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    kind: ClassVar = "matrix"


@dataclass(frozen=True)
class Scatter:
    """A dot a row, which the report draws; values (rows,)."""

    title: str
    x_values: np.ndarray
    y_values: np.ndarray
    x: str
    y: str


@dataclass(frozen=True)
class Plots:
    """SVGs beside each other, each under a title."""

    plots: Sequence[tuple[str, Markup]]
    kind: ClassVar = "plots"


@dataclass(frozen=True)
class Rows:
    """Rows of the data: for each a heading, and its texts by their names."""

    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    kind: ClassVar = "rows"


@dataclass(frozen=True)
class Html:
    """Markup of another module, which has escaped its texts."""

    markup: Markup
    kind: ClassVar = "html"


Block = Text | Code | Table | Matrix | Scatter | Plots | Rows | Html


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: Sequence[Block]
