"""Measure the quickstart's training speed beside other work on the same cores.

python benchmarks/busy.py [--rounds 3]
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from speed import ROOT, train

RECIPE = ["data.max_train_samples=1600", "data.max_eval_samples=32", "trainer.max_epochs=1", "report=false"]


def main() -> None:
    """Train beside each load in turn, round by round; print medians and shares."""
    parser = argparse.ArgumentParser(description="Busy machines.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", nargs="+", choices=["nothing", "one", "all", "training"], default=["nothing", "one", "all", "training"])
    arguments = parser.parse_args()
    speeds: dict[str, list[float]] = {load: [] for load in arguments.loads}
    for _ in range(arguments.rounds):
        for load in speeds:
            with beside(load):
                speeds[load].append(train(RECIPE)["samples_per_second"])
            print(load, speeds[load][-1], flush=True)
    cores = len(os.sched_getaffinity(0))
    others = {"nothing": 0, "one": 1, "all": cores, "training": cores}
    quiet = statistics.median(speeds["nothing"])
    print("| beside | samples/s | fair share | of the fair share |\n| --- | --- | --- | --- |")
    for load, of in speeds.items():
        fair = quiet * cores / (cores + others[load])
        print(f"| {load} | {statistics.median(of):.0f} | {fair:.0f} | {statistics.median(of) / fair:.2f} |")


@contextmanager
def beside(load: str) -> Iterator[None]:
    """Keep one core, all cores, or as many threads as another training has, busy."""
    with ExitStack() as stack:
        started = []
        if load == "training":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            command = ["train.py", "trainer.max_epochs=100", "report=false", f"hydra.run.dir={folder}/run"]
            started.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=-3, stderr=-3))
        else:
            number = {"nothing": 0, "one": 1, "all": len(os.sched_getaffinity(0))}[load]
            started += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
        try:
            yield
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
