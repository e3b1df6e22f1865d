"""How many texts a second ``lightune serve`` labels for many clients at once, with and without batching.

``python benchmarks/serve.py RUN`` starts it on this machine's loopback, once with ``--max-batch-size 1`` and once as it is,
has clients ask for one text after the other, and prints a table.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

WORDS = "a film to treasure dull predictable and far too long yet oddly moving at its very end"
WARM_UP = 3.0  # seconds that are not counted


def short_texts() -> list[str]:
    """Return texts of 5 to 40 words."""
    return [" ".join((WORDS.split()[number % 7 :] * 3)[: 5 + number * 7 % 36]) for number in range(7 * 36)]


async def client(
    port: int, number: int, *, texts: Sequence[str], ends: float, counted: float, took: list[float], wrong: list[str]
) -> None:
    """Ask for one text after the other over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at = number
    while time.monotonic() < ends:
        at += 1
        body = json.dumps({"text": texts[at % len(texts)]}).encode()
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        began = time.monotonic()
        writer.write(head.encode() + body)
        reply = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(line for line in reply.lower().splitlines() if line.startswith("content-length:"))
        answer = await reader.readexactly(int(length.split(":")[1]))
        if not reply.startswith("HTTP/1.1 200") or b'"label"' not in answer:
            wrong.append(f"{reply.splitlines()[0]} {answer[:200]!r}")
        elif began >= counted:
            took.append(time.monotonic() - began)
    writer.close()


async def load(port: int, *, texts: Sequence[str], clients: int, seconds: float) -> tuple[list[float], list[str]]:
    """Return how long each answer took, in seconds, and what went wrong."""
    took: list[float] = []
    wrong: list[str] = []
    counted = time.monotonic() + WARM_UP
    ends = counted + seconds
    await asyncio.gather(
        *(
            client(port, number * 13, texts=texts, ends=ends, counted=counted, took=took, wrong=wrong)
            for number in range(clients)
        )
    )
    return took, wrong


def measure(run: Path, *, texts: Sequence[str], batch_size: int, clients: int, seconds: float) -> float:
    """Serve, ask, print a line; return texts a second."""
    command = [sys.executable, "-m", "lightune.commands", "serve", str(run), "--port", "0"]
    server = subprocess.Popen([*command, "--max-batch-size", str(batch_size)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        took, wrong = asyncio.run(load(port, texts=texts, clients=clients, seconds=seconds))
    finally:
        server.terminate()
        server.wait(60)
    took.sort()
    rate = len(took) / seconds
    p50, p99 = (1000 * took[int(len(took) * share)] for share in (0.5, 0.99))
    print(f"{clients:7} {batch_size:10} {rate:14.1f} {p50:8.0f} {p99:8.0f} {len(wrong):7}", flush=True)
    if wrong:
        sys.exit(f"error: {wrong[0]}")
    return rate


def main() -> None:
    """Measure one client, and many with and without batching."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    print("clients batch-size texts-a-second p50/ms p99/ms errors".replace(" ", "  "))
    texts, seconds = short_texts(), arguments.seconds
    measure(arguments.run, texts=texts, batch_size=32, clients=1, seconds=seconds / 3)
    alone = measure(arguments.run, texts=texts, batch_size=1, clients=arguments.clients, seconds=seconds)
    together = measure(arguments.run, texts=texts, batch_size=32, clients=arguments.clients, seconds=seconds)
    print(f"{together / alone:.2f} times as many texts a second")


if __name__ == "__main__":
    main()
