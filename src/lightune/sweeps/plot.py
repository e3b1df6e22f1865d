"""The plot of a leaderboard."""

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from lightune.common.svg import INK, SERIES, STYLE, to_svg
from lightune.sweeps.leaderboard import Leaderboard, shortened

MAX_GROUPS, MAX_CHARACTERS = 40, 46


@matplotlib.rc_context(STYLE)
def plot(board: Leaderboard) -> Markup:
    """Draw a line for each of the best groups: a dot for each trial, mean and standard deviation over seeds."""
    groups = board.groups[:MAX_GROUPS]
    figure = Figure(figsize=(8, 0.6 + 0.3 * len(groups)), layout="constrained")
    axes = figure.subplots()
    titles = {}
    for y, group in enumerate(groups):
        axes.errorbar(group.val.mean, y, xerr=group.val.std or 0, fmt="|", markersize=12, color=INK)
        for trial in group.trials:
            gid, value = f"trial-{trial.number}", trial.value or 0.0
            axes.plot(value, y, "o", color=SERIES[0], alpha=0.75, gid=gid)
            titles[gid] = f"trial {trial.number}: {value:.4f}"
    names = [" ".join(f"{name}={shortened(value)}" for name, value in one.values.items()) for one in groups]
    labels = [name if len(name) <= MAX_CHARACTERS else f"{name[: MAX_CHARACTERS - 1]}…" for name in names]
    axes.set_yticks(range(len(groups)), labels=[label or "all" for label in labels])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel(board.metric)
    axes.grid(visible=False, axis="y")
    svg = to_svg(figure)
    for gid, title in titles.items():
        svg = svg.replace(f'<g id="{gid}">', Markup('<g id="{}"><title>{}</title>').format(gid, title))
    return svg
