"""Measure how many texts per second ``lightune serve`` labels for many simultaneous clients, with and without batching.

python benchmarks/serve.py RUN

The server runs on this machine's loopback. Each client sends one text after the other.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

WORDS = "a film to treasure dull predictable and far too long yet oddly moving at its very end"
# seconds that are not measured
WARM_UP = 3.0


async def client(
    port: int, number: int, *, ends: float, warm_at: float, latencies: list[float], errors: list[str]
) -> None:
    """Send texts of 5 to 40 words, one after the other, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = number
    while time.monotonic() < ends:
        count += 1
        words = WORDS.split()[count % 7 :] * 3
        text = " ".join(words[: 5 + count * 7 % 36])
        body = json.dumps({"text": text}).encode()
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        start = time.monotonic()
        writer.write(head.encode() + body)
        reply = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(line for line in reply.lower().splitlines() if line.startswith("content-length:"))
        answer = await reader.readexactly(int(length.split(":")[1]))
        if not reply.startswith("HTTP/1.1 200") or b'"label"' not in answer:
            errors.append(f"{reply.splitlines()[0]} {answer[:200]!r}")
        elif start >= warm_at:
            latencies.append(time.monotonic() - start)
    writer.close()


async def load(port: int, *, clients: int, seconds: float) -> tuple[list[float], list[str]]:
    """Return the seconds of each answer, and the errors."""
    latencies: list[float] = []
    errors: list[str] = []
    warm_at = time.monotonic() + WARM_UP
    ends = warm_at + seconds
    await asyncio.gather(
        *(
            client(port, number * 13, ends=ends, warm_at=warm_at, latencies=latencies, errors=errors)
            for number in range(clients)
        )
    )
    return latencies, errors


def measure(run: Path, *, batch_size: int, clients: int, seconds: float) -> float:
    """Start a server, send it texts and print a line; return the texts per second."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "lightune.commands", "serve", str(run)),
            *("--port", "0", "--max-batch-size", str(batch_size)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        latencies, errors = asyncio.run(load(port, clients=clients, seconds=seconds))
    finally:
        server.terminate()
        server.wait(60)
    latencies.sort()
    rate = len(latencies) / seconds
    p50, p99 = (1000 * latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(f"{clients:7} {batch_size:10} {rate:14.1f} {p50:8.0f} {p99:8.0f} {len(errors):7}", flush=True)
    if errors:
        sys.exit(f"error: {errors[0]}")
    return rate


def main() -> None:
    """Measure one client, and many without and with batching."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    print("clients batch-size texts-a-second p50/ms p99/ms errors".replace(" ", "  "))
    measure(arguments.run, batch_size=32, clients=1, seconds=arguments.seconds / 3)
    unbatched = measure(arguments.run, batch_size=1, clients=arguments.clients, seconds=arguments.seconds)
    batched = measure(arguments.run, batch_size=32, clients=arguments.clients, seconds=arguments.seconds)
    print(f"{batched / unbatched:.2f} times as many texts per second")


if __name__ == "__main__":
    main()
