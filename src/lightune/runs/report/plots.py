"""Plots as SVG inside the page: text and lines take its colours, so they are read on a light and on a dark ground."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID, SERIES = "#010101", "#020202", ("#030303", "#040404", "#050505", "#060606")
VARIABLES = {INK: "currentColor", GRID: "var(--line)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it is found, read aloud and set in the page's font
    "svg.hashsalt": "lightune",  # the same plot is the same file
    "text.parse_math": False,  # a dollar in a name is a dollar
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


def curves(found: Mapping[str, Curve], *, x: str, y: str, log: bool = False) -> Markup:
    """Draw lines by their names."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(x, y)
        for index, (name, (steps, values)) in enumerate(found.items()):
            marker = "o" if len(steps) < 20 else ""
            colour = SERIES[index % len(SERIES)]
            axes.plot(
                steps,
                values,
                label=name.replace("_", " "),
                color=colour,
                marker=marker,
                markersize=3,
                linewidth=1.5,
            )
        if log:
            axes.set_yscale("log")
        if len(found) > 1:
            figure.legend(loc="outside upper right", ncols=3)  # over no line
        return _svg(figure)


def reliability(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> Markup:
    """Draw accuracy against confidence, a dot a bin, larger with more rows."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure("confidence", "accuracy")
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
        axes.plot(confidence, accuracy, color=SERIES[0], linewidth=1)
        axes.scatter(confidence, accuracy, s=12 + 150 * count / count.max(), color=SERIES[0])
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
        return _svg(figure)


def bars(names: Sequence[str], values: Sequence[float], *, x: str, y: str) -> Markup:
    """Draw a bar a name."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(x, y)
        axes.bar(range(len(names)), values, tick_label=list(names), color=SERIES[0])
        axes.grid(visible=False, axis="x")
        return _svg(figure)


def histograms(found: Mapping[str, np.ndarray], *, x: str, y: str) -> Markup:
    """Draw the share of values in each of 30 bins, an outline a name."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(x, y)
        edges = np.histogram_bin_edges(np.concatenate(list(found.values())), bins=30).tolist()
        for index, (name, values) in enumerate(found.items()):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(
                values,
                edges,
                weights=weights,
                histtype="step",
                label=name,
                color=SERIES[index],
                linewidth=1.5,
            )
        figure.legend(loc="outside upper right", ncols=3)  # over no line
        return _svg(figure)


def scatter(x_values: np.ndarray, y_values: np.ndarray, *, x: str, y: str, most: int = 2000) -> Markup:
    """Draw a dot a row, of ``most`` rows evenly taken, and where both are equal."""
    with matplotlib.rc_context(STYLE):
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


def _svg(figure: Figure) -> Markup:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(
        r"""<svg [^>]*?(viewBox="[^"]*")[^>]*>""",
        r'<svg \1 role="img" xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)
