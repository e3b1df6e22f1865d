"""What a section of the page is made of. The template escapes all of it but ``Plots`` and ``Html``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar = "text"


@dataclass(frozen=True)
class Code:
    """Text as it is typed."""

    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each its name; ``folded`` shows only the caption until it is asked for."""

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
class Plots:
    """SVGs beside each other, each under a title."""

    plots: Sequence[tuple[str, Markup]]
    kind: ClassVar = "plots"


@dataclass(frozen=True)
class Rows:
    """Rows of the data: each what was found, and its texts by their names."""

    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    kind: ClassVar = "rows"


@dataclass(frozen=True)
class Html:
    """Markup of another module, which has escaped what it shows."""

    markup: Markup
    kind: ClassVar = "html"


Block = Text | Code | Table | Matrix | Plots | Rows | Html


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]
