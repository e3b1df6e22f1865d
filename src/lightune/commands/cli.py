"""``lightune``: the commands are those modules of ``commands`` that have ``add``."""

import argparse
import logging
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules

from lightune import commands
from lightune.config import friendly_errors, read_env_file


def main(argv: list[str] | None = None) -> None:
    """Run one command."""
    with friendly_errors():
        read_env_file()
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "lightune", description="Work on a finished run by its folder alone, or begin a project of your own."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('lightune')}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in (found.name for found in iter_modules(commands.__path__) if found.name not in ("__main__", "cli")):
        module = import_module(f"lightune.commands.{name}")
        if hasattr(module, "add"):
            module.add(subparsers)
    return parser
