"""Measure how training time and memory grow with the number of rows, and with the length of texts.

python benchmarks/growth.py DATA [--rows 500] [--out growth.json]
"""

import argparse
import json
import math
from pathlib import Path

from speed import train

FACTORS = (1, 2, 4, 8)
LENGTHS = (64, 128, 256, 512)
FIXED_LENGTH = 128


def main() -> None:
    """Train one epoch for each number of rows and each length; print the figures and their exponents."""
    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=500, help="rows of the smallest run (default: 500)")
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    arguments = parser.parse_args()
    grown = {
        "rows": {n: epoch(arguments.data, n, FIXED_LENGTH) for n in (arguments.rows * factor for factor in FACTORS)},
        "max_length": {length: epoch(arguments.data, arguments.rows, length) for length in LENGTHS},
    }
    arguments.out.write_text(json.dumps(grown, indent=2) + "\n")
    for name, runs in grown.items():
        print(f"\n| {name} | seconds | samples/s | tokens a row | peak GB |\n| --- | --- | --- | --- | --- |")
        for size, figures in runs.items():
            tokens = figures["tokens_per_second"] / figures["samples_per_second"]
            print(
                f"| {size} | {figures['seconds']:.1f} | {figures['samples_per_second']:.1f} | {tokens:.0f} | "
                f"{figures['peak_memory_bytes'] / 1e9:.2f} |"
            )
        for figure in ("seconds", "peak_memory_bytes"):
            power = exponent(list(runs), [figures[figure] for figures in runs.values()])
            print(f"{figure} grows as {name}^{power:.2f}")


def epoch(data: Path, rows: int, max_length: int) -> dict[str, float]:
    """Train one epoch on this many rows."""
    return train(
        [
            "data=local", f"data.path={data.resolve()}", "model=minilm", "trainer.max_epochs=1",
            f"data.max_train_samples={rows}", "data.max_eval_samples=32", f"data.max_length={max_length}",
        ]
    )  # fmt: skip


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Fit cost = c * size^exponent by least squares of the logarithms; return the exponent."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    variance = sum((value - mean_x) ** 2 for value in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / variance


if __name__ == "__main__":
    main()
