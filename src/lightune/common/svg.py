"""Draw matplotlib figures as SVG inside a page, in the colours of its light or dark theme."""

import io
import re
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

# stand for the page's colours until the SVG is written
INK, GRID, SERIES = "#010101", "#020202", ("#030303", "#040404", "#050505", "#060606")
CSS_COLOURS = {INK: "currentColor", GRID: "var(--line)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)
}
STYLE: dict[Any, Any] = {
    # text stays text: searchable, read aloud, in the page's font
    "svg.fonttype": "none",
    # the same plot gives the same file
    "svg.hashsalt": "lightune",
    # a dollar sign in a name stays one
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.color": GRID,
}


def to_svg(figure: Figure) -> Markup:
    """Return a figure that was drawn in ``STYLE`` as an SVG element of an HTML page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"""<svg [^>]*?(viewBox="[^"]*")[^>]*>""", r'<svg \1 role="img">', text, count=1)
    for placeholder, colour in CSS_COLOURS.items():
        text = text.replace(placeholder, colour)
    return Markup(text)
