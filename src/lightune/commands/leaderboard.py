"""``lightune leaderboard``: which trial of a sweep did best, and how to repeat it."""

import argparse
from pathlib import Path

from lightune.commands import Commands
from lightune.commands.output import check_out, write_out


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("leaderboard", help="which trial of a sweep did best, and how to repeat it")
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="a sweep's folder")
    usage = ".csv, .md or .html (with a plot); default: the terminal"
    parser.add_argument("--out", type=Path, metavar="FILE", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from lightune.sweeps import leaderboard_formats as formats
    from lightune.sweeps.leaderboard import read_leaderboard, write_out_of_fold

    written = {".csv": formats.as_csv, ".md": formats.as_markdown, ".html": formats.as_html}
    check_out(arguments.out, endings=written)
    board = read_leaderboard(arguments.sweep)
    if arguments.out is None:
        from rich.console import Console

        Console(highlight=False).print(formats.as_terminal(board))
        if board.best is not None:  # not wrapped: to be copied
            # the folds answer together
            best = board.sweep_dir if board.groups[0].is_folded else board.best.folder
            print(formats.printable(f"best: {best}"))
            print(formats.printable(f"again: {board.command}"))
        if (rows := write_out_of_fold(board)) is not None:
            print(f"out of fold: {rows}")
        return
    write_out(arguments.out, written[arguments.out.suffix.lower()](board).rstrip("\n"))
