"""Minutes from pressing enter until the model is right in 88, 90, 91, 92 % of held-out rows.

python benchmarks/time_to_accuracy.py DATA [--eval-rows 1000] [--out time.json] [OVERRIDE …]

Start-up, reading and tokenizing are in the minutes: the cache is empty. Accuracy is measured on rows of the test split, several
times an epoch, also while the clock runs; what that takes is told.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from speed import ROOT

MARKS = (0.88, 0.90, 0.91, 0.92, 0.925)
LINE = re.compile(
    r"^(?P<time>[\d-]+ [\d:,]+) .*epoch (?P<epoch>\d+), step (?P<step>\d+): .*val/accuracy (?P<accuracy>[\d.]+)"
)


def main() -> None:
    """Train; print when each mark was reached."""
    parser = argparse.ArgumentParser(description="Time to accuracy.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--eval-rows", type=int, default=1000)
    parser.add_argument("--checks", type=int, default=4, help="measurements an epoch (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("time_to_accuracy.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "train.py", "experiment=imdb_minilm", f"data.path={asked.data.resolve()}",
            "data.validation_split=test", f"data.max_eval_samples={asked.eval_rows}",
            f"trainer.val_check_interval={1 / asked.checks}", "~callbacks.early_stopping",
            f"hydra.run.dir={folder}/run", *asked.overrides,
        ]  # fmt: skip
        started = time.time()
        environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"train.py failed:\n{done.stderr[-2000:]}")
        points = read_points((Path(folder) / "run" / "train.log").read_text(), started=started)
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    asked.out.write_text(json.dumps({"asked": vars(asked), "points": points}, indent=2, default=str) + "\n")
    print("| accuracy | minutes | samples |\n| --- | --- | --- |")
    for mark in MARKS:
        reached = first_above(points, mark)
        print(
            f"| {mark:.1%} | "
            + (
                "not reached |  |"
                if reached is None
                else f"{reached['minutes']:.1f} | step {reached['step']:.0f} |"
            )
        )
    best = max(points, key=lambda point: point["accuracy"])
    print(
        f"\nbest {best['accuracy']:.4f} after {best['minutes']:.1f} minutes, of {asked.eval_rows} test rows; ",
        end="",
    )
    print(
        f"training took {metrics['train/seconds'] / 60:.1f} of the {points[-1]['minutes']:.1f} minutes until the last measurement"
    )


def read_points(log: str, *, started: float) -> list[dict[str, float]]:
    """Read ``train.log``: ``minutes`` since the start, ``epoch``, ``step`` and ``accuracy`` of each measurement."""
    points = []
    for found in filter(None, map(LINE.match, log.splitlines())):
        when = datetime.strptime(found["time"], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        point = {name: float(found[name]) for name in ("epoch", "step", "accuracy")}
        points.append({"minutes": (when - started) / 60, **point})
    return points


def first_above(points: list[dict[str, float]], mark: float) -> dict[str, float] | None:
    """Return the first measurement that reaches a mark."""
    return next((point for point in points if point["accuracy"] >= mark), None)


if __name__ == "__main__":
    main()
