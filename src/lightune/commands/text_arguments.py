"""Texts on the command line, for a run's columns."""

import argparse

from lightune.common.errors import UserError


def add_text(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Add ``--text``, also called ``--question``."""
    usage = "a text; may be given several times"
    parser.add_argument("--text", "--question", action="append", dest="text", required=required, help=usage)


def add_text_pair(parser: argparse._ActionsContainer) -> None:
    """Add ``--text-pair``, also called ``--context``."""
    usage = "the second text of each --text, for runs on pairs; the text in which a --question is answered"
    parser.add_argument("--text-pair", "--context", action="append", dest="text_pair", help=usage)


def text_rows(arguments: argparse.Namespace, columns: list[str]) -> list[tuple[str, ...]]:
    """Return rows with a text for every column; raise a UserError for other columns or what is not UTF-8."""
    texts = [arguments.text] + ([arguments.text_pair] if arguments.text_pair else [])
    if len(texts) != len(columns) or len({len(column) for column in texts}) != 1:
        fix = "--text alone" if len(columns) == 1 else "a --text-pair for each --text"
        raise UserError(f"This run reads the column(s) {', '.join(columns)}: give {fix}.")
    for text in [text for column in texts for text in column]:
        if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"--text {text!r:.80}: not UTF-8. Write it to a file, and use --file.")
    return list(zip(*texts, strict=True))
