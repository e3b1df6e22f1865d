"""The plots of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightune.common.svg import INK, SERIES, STYLE, to_svg

Curve = tuple[Sequence[float], Sequence[float]]
LEGEND: Any = {"loc": "outside upper right", "ncols": 3}  # where it hides no line


@matplotlib.rc_context(STYLE)
def curves(series: Mapping[str, Curve], *, x: str, y: str) -> Markup:
    """Draw a line for each name."""
    figure, axes = _figure(x, y)
    for index, (name, (steps, values)) in enumerate(series.items()):
        style: Any = {"color": SERIES[index % len(SERIES)], "marker": "o" if len(steps) < 20 else ""}
        axes.plot(steps, values, label=name.replace("_", " "), markersize=3, linewidth=1.5, **style)
    if len(series) > 1:
        figure.legend(**LEGEND)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def reliability(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> Markup:
    """Draw accuracy against confidence, with a dot for each bin, larger where it has more rows."""
    figure, axes = _figure("confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    axes.plot(confidence, accuracy, color=SERIES[0], linewidth=1)
    axes.scatter(confidence, accuracy, s=12 + 150 * count / count.max(), color=SERIES[0])
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def bars(names: Sequence[str], values: Sequence[float], *, x: str, y: str) -> Markup:
    """Draw a bar for each name."""
    figure, axes = _figure(x, y)
    axes.bar(range(len(names)), values, tick_label=list(names), color=SERIES[0])
    axes.grid(visible=False, axis="x")
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def histograms(samples: Mapping[str, np.ndarray], *, x: str, y: str) -> Markup:
    """Draw the share of values in each of 30 bins, an outline for each name."""
    figure, axes = _figure(x, y)
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins=30).tolist()
    for index, (name, values) in enumerate(samples.items()):
        weights = np.full(len(values), 1 / len(values))
        style: Any = {"histtype": "step", "color": SERIES[index], "linewidth": 1.5}
        axes.hist(values, edges, weights=weights, label=name, **style)
    figure.legend(**LEGEND)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def scatter(x_values: np.ndarray, y_values: np.ndarray, *, x: str, y: str, most: int = 2000) -> Markup:
    """Draw a dot for each row, for at most ``most`` evenly spaced ones, and the line of equal values."""
    figure, axes = _figure(x, y)
    step = -(-len(x_values) // most)
    axes.scatter(x_values[::step], y_values[::step], s=6, color=SERIES[0])
    ends = [x_values.min(), x_values.max()]
    axes.plot(ends, ends, color=INK, linestyle="--", linewidth=1)
    return to_svg(figure)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_axisbelow(True)
    return figure, axes
