"""How cost grows: training time and memory against the number of rows, and against the length of texts.

python benchmarks/growth.py DATA [--rows 500] [--out growth.json]
"""

import argparse
import json
import math
from pathlib import Path

from speed import trained

TIMES = (1, 2, 4, 8)
LENGTHS = (64, 128, 256, 512)
FIXED_LENGTH = 128


def main() -> None:
    """Train an epoch for each number of rows and for each length; print the figures and their exponents."""
    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=500, help="rows of the smallest run (default: 500)")
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    asked = parser.parse_args()
    grown = {
        "rows": {n: one(asked.data, n, FIXED_LENGTH) for n in (asked.rows * times for times in TIMES)},
        "max_length": {length: one(asked.data, asked.rows, length) for length in LENGTHS},
    }
    asked.out.write_text(json.dumps(grown, indent=2) + "\n")
    for name, runs in grown.items():
        print(f"\n| {name} | seconds | samples/s | tokens a row | peak GB |\n| --- | --- | --- | --- | --- |")
        for size, found in runs.items():
            tokens = found["tokens_per_second"] / found["samples_per_second"]
            print(
                f"| {size} | {found['seconds']:.1f} | {found['samples_per_second']:.1f} | {tokens:.0f} | "
                f"{found['peak_memory_bytes'] / 1e9:.2f} |"
            )
        for figure in ("seconds", "peak_memory_bytes"):
            grows = exponent(list(runs), [found[figure] for found in runs.values()])
            print(f"{figure} grows as {name}^{grows:.2f}")


def one(data: Path, rows: int, max_length: int) -> dict[str, float]:
    """Train an epoch on this many rows."""
    return trained(
        [
            "data=local", f"data.path={data.resolve()}", "model=minilm", "trainer.max_epochs=1",
            f"data.max_train_samples={rows}", "data.max_eval_samples=32", f"data.max_length={max_length}",
        ]
    )  # fmt: skip


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Fit cost = c * size^exponent by least squares of the logarithms; return the exponent."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    middle, level = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle) ** 2 for one in x)
    return sum((one - middle) * (other - level) for one, other in zip(x, y, strict=True)) / spread


if __name__ == "__main__":
    main()
