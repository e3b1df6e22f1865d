"""A leaderboard for the terminal, a spreadsheet, a README or a browser. What comes from files is escaped."""

import csv
import io
from html import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lightune.sweeps.leaderboard import Leaderboard, seed_of, shortened, values_of
from lightune.sweeps.plot import svg

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --faint: #767676; --line: #d8d8d8; --dot: #2563b8; --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --faint: #9a9a9a; --line: #444; --dot: #7db2f5; --page: #161616 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line) }
td { font-variant-numeric: tabular-nums } pre { white-space: pre-wrap; overflow-wrap: anywhere }
svg { width: 100%; height: auto } svg text { fill: var(--ink); font: 13px system-ui, sans-serif } svg .faint { fill: var(--faint) }
"""


def header(board: Leaderboard) -> list[str]:
    """Return the columns' names."""
    return ["", *board.options, board.metric, board.metric.replace("val/", "test/", 1), "runs", "trials"]


def cells(board: Leaderboard) -> list[list[str]]:
    """Return a row for each group of trials, best first."""
    return [
        [
            str(place),
            *map(shortened, row.values.values()),
            str(row.val),
            "" if row.test is None else str(row.test),
            str(row.val.n),
            ", ".join(str(trial.number) for trial in row.trials),
        ]
        for place, row in enumerate(board.rows, 1)
    ]


def other_cells(board: Leaderboard) -> list[list[str]]:
    """Return trial, state, options and message of those that have no figure."""
    return [
        [
            str(trial.number),
            trial.shown_state,
            " ".join(
                [f"{name}={shortened(value)}" for name, value in values_of(trial, board.options).items()]
                + ([f"seed={seed_of(trial)}"] if seed_of(trial) else [])
            ),
            trial.message or (f"{board.metric} {trial.value:.4f}" if trial.value is not None else ""),
        ]
        for trial in board.others
    ]


OTHERS = ["trial", "state", "options", ""]


def as_terminal(board: Leaderboard) -> Group:
    """Make tables for rich."""
    parts: list[Table] = [_table(header(board), cells(board))]
    if board.others:
        parts.append(_table(OTHERS, other_cells(board)))
    return Group(*parts)


def as_csv(board: Leaderboard) -> str:
    """Make a row for each group and for each other trial, figures apart from their deviation."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    test = board.metric.replace("val/", "test/", 1)
    figures = [f"{name} {what}" for name in (board.metric, test) for what in ("mean", "std")]
    writer.writerow(["state", *board.options, *figures, "runs", "trials", "message"])
    for row in board.rows:
        found = [(None, None) if one is None else (one.mean, one.std) for one in (row.val, row.test)]
        numbers = " ".join(str(trial.number) for trial in row.trials)
        writer.writerow(
            ["finished", *row.values.values(), *(x for pair in found for x in pair), row.val.n, numbers, ""]
        )
    for trial in board.others:
        values = values_of(trial, board.options).values()
        writer.writerow(
            [trial.shown_state, *values, trial.value, None, None, None, 0, trial.number, trial.message]
        )
    return out.getvalue()


def as_markdown(board: Leaderboard) -> str:
    """Make Markdown tables and the command."""
    parts = [_markdown(header(board), cells(board))]
    if board.others:
        parts.append(_markdown(OTHERS, other_cells(board)))
    if board.command:
        fence = "`" * max(3, 1 + max((len(run) for run in _ticks(board.command)), default=0))
        parts.append(f"{fence}bash\n{board.command}\n{fence}\n")
    return "\n".join(parts)


def as_html(board: Leaderboard) -> str:
    """Make a page that needs nothing else, with a plot."""
    parts = [f"<h1>{escape(board.sweep.resolve().name)}</h1>", svg(board), _html(header(board), cells(board))]
    if board.others:
        parts.append("<h2>Not compared</h2>" + _html(OTHERS, other_cells(board)))
    if board.command:
        parts.append(f"<h2>The best run again</h2><pre>{escape(board.command)}</pre>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(board.sweep.resolve().name)}</title><style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _table(names: list[str], rows: list[list[str]]) -> Table:
    table = Table()
    for name in names:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def plain(text: str) -> str:
    """Take out what a terminal would obey."""
    return "".join(one if one.isprintable() else "�" for one in text)


def _ticks(text: str) -> list[str]:
    return "".join(one if one == "`" else " " for one in text).split()


def _markdown(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    escaped = escape(plain(text), quote=False)
    for one in "\\`*_[]|":
        escaped = escaped.replace(one, f"\\{one}")
    return escaped


def _html(names: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
