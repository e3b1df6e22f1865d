"""Measure the minutes from the command to 88, 90, 91, 92 and 92.5 % accuracy on held-out rows.

python benchmarks/time_to_accuracy.py DATA [--eval-rows 1000] [--out time.json] [OVERRIDE …]

The minutes include start-up, reading, tokenizing into an empty cache, and the measurements themselves: accuracy on rows of
the test split, several times an epoch.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from speed import run

MARKS = (0.88, 0.90, 0.91, 0.92, 0.925)
LINE = re.compile(
    r"^(?P<time>[\d-]+ [\d:,]+) .*epoch (?P<epoch>\d+), step (?P<step>\d+): .*val/accuracy (?P<accuracy>[\d.]+)"
)


def main() -> None:
    """Train, and print when each accuracy was reached."""
    parser = argparse.ArgumentParser(description="Time to accuracy.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--eval-rows", type=int, default=1000)
    parser.add_argument("--checks", type=int, default=4, help="measurements an epoch (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("time_to_accuracy.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    # options may stand before overrides
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [
            "train.py", "experiment=imdb_minilm", f"data.path={arguments.data.resolve()}",
            "data.validation_split=test", f"data.max_eval_samples={arguments.eval_rows}",
            f"trainer.val_check_interval={1 / arguments.checks}", "~callbacks.early_stopping",
            f"hydra.run.dir={run_dir}", *arguments.overrides,
        ]  # fmt: skip
        started = time.time()
        run(*command, HF_DATASETS_CACHE=f"{folder}/cache", TOKENIZERS_PARALLELISM="true")
        points = read_points((run_dir / "train.log").read_text(), started=started)
        # training ends with the checkpoint after the last measurement, and so does train/seconds
        ended = (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime
        seconds = json.loads((run_dir / "metrics.json").read_text())["train/seconds"]
    if not points:
        sys.exit("Nothing was measured: no validation with an accuracy before training ended.")
    arguments.out.write_text(json.dumps({"asked": vars(arguments), "points": points}, indent=2, default=str) + "\n")
    print("| accuracy | minutes | step |\n| --- | --- | --- |")
    for mark in MARKS:
        reached = first_above(points, mark)
        cells = "not reached | " if reached is None else f"{reached['minutes']:.1f} | {reached['step']:.0f}"
        print(f"| {mark:.1%} | {cells} |")
    best = max(points, key=lambda point: point["accuracy"])
    print(f"\nbest {best['accuracy']:.4f} of {arguments.eval_rows} test rows, after {best['minutes']:.1f} minutes")
    print(f"training took {seconds / 60:.1f} of the {(ended - started) / 60:.1f} minutes until its end")


def read_points(log: str, *, started: float) -> list[dict[str, float]]:
    """Read ``minutes`` since the start, ``epoch``, ``step`` and ``accuracy`` of each measurement in ``train.log``."""
    points = []
    for match in filter(None, map(LINE.match, log.splitlines())):
        time_logged = datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        point = {name: float(match[name]) for name in ("epoch", "step", "accuracy")}
        points.append({"minutes": (time_logged - started) / 60, **point})
    return points


def first_above(points: list[dict[str, float]], mark: float) -> dict[str, float] | None:
    """Return the first measurement that reaches an accuracy."""
    return next((point for point in points if point["accuracy"] >= mark), None)


if __name__ == "__main__":
    main()
