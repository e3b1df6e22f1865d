"""The plot of a leaderboard: a line for each group, a dot for each run, mean and standard deviation over seeds."""

from html import escape

from lightune.sweeps.leaderboard import Leaderboard, shortened

LABELS, WIDTH, HEIGHT = 340, 900, 26  # pixels: the names' column, the picture, a line
MOST = 40


def svg(board: Leaderboard) -> str:
    """Draw the best groups, at most ``MOST``; nothing where none has finished."""
    rows = board.groups[:MOST]
    values = [trial.value for row in rows for trial in row.trials if trial.value is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - 20) * (min(max(value, low), high) - low) / (high - low)

    bottom = HEIGHT * len(rows) + 10
    parts = []
    for line, row in enumerate(rows):
        y = HEIGHT * line + HEIGHT / 2 + 5
        name = " ".join(f"{option}={shortened(value)}" for option, value in row.values.items()) or "all"
        parts.append(f'<text x="0" y="{y + 4}">{escape(name if len(name) < 46 else name[:45] + "…")}</text>')
        spread = row.val.std or 0.0
        left, middle, right = x(row.val.mean - spread), x(row.val.mean), x(row.val.mean + spread)
        parts.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}" stroke="var(--faint)" stroke-width="2"/>'
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 7}" y2="{y + 7}" stroke="var(--ink)" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x(trial.value):.1f}" cy="{y}" r="4" fill="var(--dot)" fill-opacity="0.75">'
            f"<title>trial {trial.number}: {trial.value:.4f}</title></circle>"
            for trial in row.trials
            if trial.value is not None
        ]
    for value, anchor in ((low, "start"), (high, "end")):
        parts.append(
            f'<text class="faint" x="{x(value):.1f}" y="{bottom + 16}" text-anchor="{anchor}">{value:.4f}</text>'
        )
    parts.append(
        f'<text class="faint" x="{(LABELS + WIDTH) / 2}" y="{bottom + 16}" text-anchor="middle">{escape(board.metric)}</text>'
    )
    label = f"{board.metric} of each run, mean and standard deviation over seeds"
    return f'<svg viewBox="0 0 {WIDTH} {bottom + 24}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
