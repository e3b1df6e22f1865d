"""Measure how training time and memory grow with the number of rows, and with the length of texts.

python benchmarks/growth.py DATA [--rows 500] [--out growth.json]
python benchmarks/growth.py DATA --files 100000 1000000
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

from clock import timed_train
from speed import train

FACTORS = (1, 2, 4, 8)
LENGTHS = (64, 128, 256, 512)
FIXED_LENGTH = 128


def main() -> None:
    """Measure what is asked for; print the figures and their exponents."""
    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=500, help="rows of the smallest run (default: 500)")
    parser.add_argument(
        "--files", type=int, nargs="+", metavar="ROWS", help="read Parquet files of so many rows instead"
    )
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    arguments = parser.parse_args()
    if arguments.files:
        grown = {"rows of the file": {rows: first_step(arguments.data, rows) for rows in arguments.files}}
    else:
        grown = epochs(arguments.data, arguments.rows)
    arguments.out.write_text(json.dumps(grown, indent=2) + "\n")
    for name, runs in grown.items():
        print("\n".join(table(name, runs)))


def table(name: str, runs: dict[int, dict[str, float]]) -> list[str]:
    """Return the figures of each size, memory in GB, and a last line of exponents of the size."""
    figures = [*next(iter(runs.values()))]
    lines = [f"| {name} | {' | '.join(figures)} |", "| --- |" + " --- |" * len(figures)]
    for size, run in runs.items():
        cells = [
            f"{run[figure] / 1e9:.2f}" if figure.endswith("_bytes") else f"{run[figure]:.1f}" for figure in figures
        ]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    if len(runs) > 1:
        powers = [exponent([*runs], [run[figure] for run in runs.values()]) for figure in figures]
        lines.append(f"| exponent | {' | '.join(f'{power:.2f}' for power in powers)} |")
    return lines


def epochs(data: Path, rows: int) -> dict[str, dict[int, dict[str, float]]]:
    """Train one epoch for each number of rows, and for each length."""
    return {
        "rows": {rows * factor: epoch(data, rows * factor, FIXED_LENGTH) for factor in FACTORS},
        "max_length": {length: epoch(data, rows, length) for length in LENGTHS},
    }


def epoch(data: Path, rows: int, max_length: int) -> dict[str, float]:
    """Train one epoch on this many rows."""
    figures = train(
        [
            "data=local", f"data.path={data.resolve()}", "model=minilm", "trainer.max_epochs=1",
            f"data.max_train_samples={rows}", "data.max_eval_samples=32", f"data.max_length={max_length}",
        ]
    )  # fmt: skip
    return {name: figures[name] for name in ("seconds", "peak_memory_bytes")}


def first_step(data: Path, rows: int) -> dict[str, float]:
    """Train one step on a Parquet file of so many rows, those of DATA again and again; the seconds are those until then.

    Nothing is tokenized yet. The peak memory is that of the whole run.
    """
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        own = datasets.load_dataset(str(data.resolve()), split="train")
        copies = [own] * (rows // len(own)) + [own.select(range(rows % len(own)))]
        datasets.concatenate_datasets(copies).to_parquet(f"{folder}/train.parquet")
        started = time.time()
        figures = timed_train(
            "data=local", f"data.path={folder}/train.parquet", f"data.max_length={FIXED_LENGTH}", "model=minilm",
            "data.max_eval_samples=32", "trainer.max_steps=1", "report=false", f"hydra.run.dir={folder}/run",
            HF_DATASETS_CACHE=f"{folder}/cache", TOKENIZERS_PARALLELISM="true",
        )  # fmt: skip
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    return {
        "seconds": figures["began"] - started,
        "peak_memory_bytes": metrics["train/peak_memory_bytes"],
        "own_memory_bytes": figures["own_memory_bytes"],
    }


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Fit cost = c * size^exponent by least squares of the logarithms; return the exponent."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    variance = sum((value - mean_x) ** 2 for value in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / variance


if __name__ == "__main__":
    main()
