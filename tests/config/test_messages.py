"""What is said about a mistake on the command line."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from lightune.config import friendly_errors


def test_what_the_terminal_cannot_show_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch):
    terminal = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(terminal, encoding="cp1252"))
    with friendly_errors():
        sys.stdout.write("Δθ ─ 一部")
    sys.stdout.flush()
    assert terminal.getvalue() == rb"\u0394\u03b8 \u2500 \u4e00\u90e8"
