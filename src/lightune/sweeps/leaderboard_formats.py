"""Render a leaderboard for a terminal, a spreadsheet, a README or a browser. Text that comes from files is escaped."""

import csv
import io
import re
from html import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lightune.sweeps.leaderboard import Leaderboard, shortened, values_of
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
Rows = list[list[str]]
"""The first row holds the names of the columns."""


def ranked_rows(board: Leaderboard) -> Rows:
    """Return a row for each group of trials, best first."""
    rows = [["", *board.options, board.metric, board.test_metric, "runs", "trials"]]
    for rank, group in enumerate(board.groups, 1):
        test = "" if group.test is None else str(group.test)
        numbers = ", ".join(str(trial.number) for trial in group.trials)
        values = map(shortened, group.values.values())
        rows.append([str(rank), *values, str(group.val), test, str(group.val.n), numbers])
    return rows


def unranked_rows(board: Leaderboard) -> Rows:
    """Return number, state, options and message of the trials without a result; nothing where there are none."""
    rows = [["trial", "state", "options", ""]]
    for trial in board.unranked:
        values = {name: shortened(value) for name, value in values_of(trial, board.options).items()}
        values |= {name: seed for name, seed in values_of(trial, ["seed"]).items() if seed}
        options = " ".join(f"{name}={value}" for name, value in values.items())
        value = "" if trial.value is None else f"{board.metric} {trial.value:.4f}"
        rows.append([str(trial.number), trial.display_state, options, trial.message or value])
    return rows if board.unranked else []


def as_terminal(board: Leaderboard) -> Group:
    """Render tables for rich."""
    return Group(*(_rich_table(rows) for rows in (ranked_rows(board), unranked_rows(board)) if rows))


def as_csv(board: Leaderboard) -> str:
    """Render a row for each group and each unranked trial, with means and standard deviations in columns of their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    figures = [f"{name} {figure}" for name in (board.metric, board.test_metric) for figure in ("mean", "std")]
    writer.writerow(["state", *board.options, *figures, "runs", "trials", "message"])
    for group in board.groups:
        test = (None, None) if group.test is None else (group.test.mean, group.test.std)
        numbers = " ".join(str(trial.number) for trial in group.trials)
        values = group.values.values()
        writer.writerow(["finished", *values, group.val.mean, group.val.std, *test, group.val.n, numbers, ""])
    for trial in board.unranked:
        values = values_of(trial, board.options).values()
        state = trial.display_state
        writer.writerow([state, *values, trial.value, None, None, None, 0, trial.number, trial.message])
    return out.getvalue()


def as_markdown(board: Leaderboard) -> str:
    """Render Markdown tables and the command that repeats the best run."""
    parts = [_markdown_table(rows) for rows in (ranked_rows(board), unranked_rows(board)) if rows]
    if board.command:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", board.command)), default=0))
        parts.append(f"{fence}bash\n{board.command}\n{fence}\n")
    return "\n".join(parts)


def as_html(board: Leaderboard) -> str:
    """Render a self-contained page with a plot."""
    parts = [f"<h1>{escape(board.sweep_dir.resolve().name)}</h1>", svg(board), _html(ranked_rows(board))]
    if board.unranked:
        parts.append("<h2>Not compared</h2>" + _html(unranked_rows(board)))
    if board.command:
        parts.append(f"<h2>The best run again</h2><pre>{escape(board.command)}</pre>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(board.sweep_dir.resolve().name)}</title><style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def printable(text: str) -> str:
    """Replace the control characters that a terminal would interpret."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _rich_table(rows: Rows) -> Table:
    table = Table()
    for name in rows[0]:
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _markdown_table(rows: Rows) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(map(_markdown_cell, line)) + " |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    return re.sub(r"[\\`*_\[\]|]", r"\\\g<0>", escape(printable(text), quote=False))


def _html(rows: Rows) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
