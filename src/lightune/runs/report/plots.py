"""Plots as SVG inside the page, in the colours of its light or dark theme."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
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
Curve = tuple[Sequence[float], Sequence[float]]


@matplotlib.rc_context(STYLE)
def curves(series: Mapping[str, Curve], *, x: str, y: str) -> Markup:
    """Draw a line for each name."""
    figure, axes = _figure(x, y)
    for index, (name, (steps, values)) in enumerate(series.items()):
        style: Any = {"color": SERIES[index % len(SERIES)], "marker": "o" if len(steps) < 20 else ""}
        axes.plot(steps, values, label=name.replace("_", " "), markersize=3, linewidth=1.5, **style)
    if len(series) > 1:
        _add_legend(figure)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def reliability(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> Markup:
    """Draw accuracy against confidence, with a dot for each bin, larger where it has more rows."""
    figure, axes = _figure("confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    axes.plot(confidence, accuracy, color=SERIES[0], linewidth=1)
    axes.scatter(confidence, accuracy, s=12 + 150 * count / count.max(), color=SERIES[0])
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def bars(names: Sequence[str], values: Sequence[float], *, x: str, y: str) -> Markup:
    """Draw a bar for each name."""
    figure, axes = _figure(x, y)
    axes.bar(range(len(names)), values, tick_label=list(names), color=SERIES[0])
    axes.grid(visible=False, axis="x")
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def histograms(samples: Mapping[str, np.ndarray], *, x: str, y: str) -> Markup:
    """Draw the share of values in each of 30 bins, an outline for each name."""
    figure, axes = _figure(x, y)
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins=30).tolist()
    for index, (name, values) in enumerate(samples.items()):
        weights = np.full(len(values), 1 / len(values))
        style: Any = {"histtype": "step", "color": SERIES[index], "linewidth": 1.5}
        axes.hist(values, edges, weights=weights, label=name, **style)
    _add_legend(figure)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def scatter(x_values: np.ndarray, y_values: np.ndarray, *, x: str, y: str, most: int = 2000) -> Markup:
    """Draw a dot for each row, for at most ``most`` evenly spaced ones, and the line of equal values."""
    figure, axes = _figure(x, y)
    step = -(-len(x_values) // most)
    axes.scatter(x_values[::step], y_values[::step], s=6, color=SERIES[0])
    ends = [x_values.min(), x_values.max()]
    axes.plot(ends, ends, color=INK, linestyle="--", linewidth=1)
    return _svg(figure)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_axisbelow(True)
    return figure, axes


def _add_legend(figure: Figure) -> None:
    """Add a legend outside of the axes, where it hides no line."""
    figure.legend(loc="outside upper right", ncols=3)


def _svg(figure: Figure) -> Markup:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    tag = r'<svg \1 role="img" xmlns:xlink="http://www.w3.org/1999/xlink">'
    text = re.sub(r"""<svg [^>]*?(viewBox="[^"]*")[^>]*>""", tag, text, count=1)
    for placeholder, colour in CSS_COLOURS.items():
        text = text.replace(placeholder, colour)
    return Markup(text)
