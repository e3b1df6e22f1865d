"""``lightune``: what can be done with a finished run, by its folder alone. The commands are modules of ``commands``."""

import argparse
import logging

from lightune.commands import evaluate, explain, export, leaderboard, new, predict, report, resume, serve, update
from lightune.config import friendly_errors

COMMANDS = (resume, evaluate, predict, explain, export, leaderboard, report, serve, new, update)


def main(argv: list[str] | None = None) -> None:
    """Run one command."""
    with friendly_errors():
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lightune", description="Work on a finished run, by its folder alone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
