"""Render a leaderboard for a terminal, a spreadsheet, a README or a browser. Text that comes from files is escaped."""

import csv
import io
import re
from html import escape

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from lightune.common.html_pages import render
from lightune.sweeps.leaderboard import REPETITIONS, Leaderboard, shortened, values_of

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
        values |= {name: value for name, value in values_of(trial, REPETITIONS).items() if value}
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
    # importing matplotlib takes a second
    from lightune.sweeps.plot import plot

    return render(
        "sweeps/leaderboard.html",
        title=board.sweep_dir.resolve().name,
        board=board,
        plot=plot(board) if board.groups else None,
        ranked=ranked_rows(board),
        unranked=unranked_rows(board),
    )


def printable(text: str) -> str:
    """Replace the control characters that a terminal would interpret."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _rich_table(rows: Rows) -> Table:
    table = Table(*(Column(Text(printable(name)), overflow="fold") for name in rows[0]))
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _markdown_table(rows: Rows) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(map(_markdown_cell, line)) + " |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    return re.sub(r"[\\`*_\[\]|]", r"\\\g<0>", escape(printable(text), quote=False))
