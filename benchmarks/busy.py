"""Measure the quickstart's training speed beside other work on the same cores.

python benchmarks/busy.py [--rounds 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speed import ROOT, train

RECIPE = ["data.max_train_samples=800", "data.max_eval_samples=32", "trainer.max_epochs=1", "report=false"]


def main() -> None:
    """Train beside each load in turn, round by round; print medians and shares."""
    parser = argparse.ArgumentParser(description="Busy machines.")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    # threads that want a core beside ours, of which there are as many as cores
    loads = {"nothing": 0, "one busy core": 1, "all cores busy": cores, "another training": cores}
    speeds: dict[str, list[float]] = {load: [] for load in loads}
    for _ in range(arguments.rounds):
        for load in speeds:
            with another_training() if load == "another training" else busy_cores(loads[load]):
                speeds[load].append(train(RECIPE)["samples_per_second"])
    quiet = statistics.median(speeds["nothing"])
    print("| beside | samples/s | fair share | of the fair share |\n| --- | --- | --- | --- |")
    for load, of in speeds.items():
        fair = quiet * cores / (cores + loads[load])
        print(f"| {load} | {statistics.median(of):.0f} | {fair:.0f} | {statistics.median(of) / fair:.2f} |")


@contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """Keep this many cores busy with a loop."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def another_training() -> Iterator[None]:
    """Train the quickstart beside it, from its first step on."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "trainer.max_epochs=100", "report=false", f"hydra.run.dir={folder}/run"]
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not (Path(folder) / "run" / "metrics.csv").exists():
                time.sleep(1)
            yield
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
