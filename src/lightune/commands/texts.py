"""Texts that are given on the command line, for a run's columns."""

import argparse

from lightune.common.errors import UserError


def add_text(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Add ``--text``, by its other name ``--question``."""
    parser.add_argument(
        "--text",
        "--question",
        action="append",
        dest="text",
        required=required,
        help="a text; may be given several times",
    )


def add_text_pair(parser: argparse._ActionsContainer) -> None:
    """Add ``--text-pair``, by its other name ``--context``."""
    parser.add_argument(
        "--text-pair",
        "--context",
        action="append",
        dest="text_pair",
        help="the second text of each --text, for runs on pairs; the text that a --question is asked of",
    )


def given_texts(arguments: argparse.Namespace, columns: list[str]) -> dict[str, list[str]]:
    """Return the texts, a list a column.

    Raises:
        UserError: there are not as many columns, or a text is not UTF-8.
    """
    texts = [arguments.text] + ([arguments.text_pair] if arguments.text_pair else [])
    if len(texts) != len(columns) or len({len(column) for column in texts}) != 1:
        wanted = "--text alone" if len(columns) == 1 else "a --text-pair for each --text"
        raise UserError(f"This run reads the column(s) {', '.join(columns)}: give {wanted}.")
    for text in [text for column in texts for text in column]:
        if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"--text {text!r:.80}: not UTF-8. Write it in a file, and give --file.")
    return dict(zip(columns, texts, strict=True))
