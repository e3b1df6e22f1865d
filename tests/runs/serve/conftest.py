"""``lightune serve`` as a process of its own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest


@pytest.fixture(scope="session")
def serving() -> Callable[..., object]:
    """Start ``lightune serve``; yield its process and its address."""

    @contextmanager
    def start(run: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        process = subprocess.Popen(
            [forked.python(), "-m", "lightune.commands", "serve", str(run), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None and process.stderr is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), process.stderr.read()
            yield process, address
        finally:
            process.kill()
            process.communicate()

    return start
