"""Rows a second of ``lightune evaluate``, ``predict`` and ``serve``, and their share of the matrix-product peak.

python benchmarks/inference.py DATA [--rows 1000] [--max-length 256]

DATA is a folder with ``text`` and ``label`` in the Hub's layout. The protocol is in README.md beside this file.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from serve import measure
from speed import flops_per_second, gemm_peak, run

CLIENTS = 64


def main() -> None:
    """Train one step, measure the run by each command; print a table."""
    parser = argparse.ArgumentParser(description="Inference.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=30.0, help="of answering over HTTP")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(
            "train.py", "data=local", f"data.path={arguments.data.resolve()}", "model=minilm", "trainer.max_steps=1",
            f"data.max_length={arguments.max_length}", f"data.max_eval_samples={arguments.rows}", "report=false",
            f"hydra.run.dir={folder / 'run'}",
        )  # fmt: skip
        texts = read_texts(arguments.data, 2 * arguments.rows)
        for size in (arguments.rows, 2 * arguments.rows):
            lines = (json.dumps({"text": text}) + "\n" for text in texts[:size])
            (folder / f"{size}.jsonl").write_text("".join(lines))
        length = mean_length(folder / "run" / "model", texts, arguments.max_length)
        rates = {
            "evaluate": rate(
                arguments.rows,
                ["evaluate", str(folder / "run"), "--split", "test"],
                ["evaluate", str(folder / "run")],
            ),
            "predict": rate(
                arguments.rows,
                *(
                    [
                        "predict",
                        str(folder / "run"),
                        "--file",
                        str(folder / f"{size}.jsonl"),
                        "--out",
                        f"{name}/out{size}.jsonl",
                    ]
                    for size in (arguments.rows, 2 * arguments.rows)
                ),
            ),
            "serve": measure(folder / "run", texts=texts, batch_size=32, clients=CLIENTS, seconds=arguments.seconds),
        }
        print("\n".join(table(rates, length=length, peak=gemm_peak())))


def rate(rows: int, *commands: list[str]) -> float:
    """Return the rows a second of which the second command reads so many more than the first: start-up cancels out."""
    seconds = []
    for command in commands:
        started = time.perf_counter()
        run("-m", "lightune.commands", *command)
        seconds.append(time.perf_counter() - started)
    return rows / (seconds[1] - seconds[0])


def read_texts(data: Path, number: int) -> list[str]:
    """Return test texts at random."""
    import datasets

    texts: list[str] = datasets.load_dataset(str(data.resolve()), split="test")["text"][:]
    return random.Random(0).sample(texts, number)


def mean_length(tokenizer: Path, texts: list[str], max_length: int) -> float:
    """Return the mean number of tokens of a text."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(tokenizer)(texts, truncation=True, max_length=max_length)["input_ids"]
    return statistics.mean(map(len, ids))


def table(rates: dict[str, float], *, length: float, peak: float) -> list[str]:
    """Return rows a second of each command, and the share of the peak: a third of a training step's FLOPs for a row."""
    lines = ["| command | rows/s | share of GEMM peak |", "| --- | --- | --- |"]
    for command, speed in rates.items():
        flops = flops_per_second({"samples_per_second": speed, "tokens_per_second": speed * length}) / 3
        lines.append(f"| `lightune {command}` | {speed:.1f} | {flops / peak:.2f} |")
    return lines


if __name__ == "__main__":
    main()
