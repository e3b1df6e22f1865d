"""Measure what passes before work begins: from the command to the quickstart's first step, and to one prediction.

python benchmarks/startup.py [--rounds 5] [--cold]
"""

import argparse
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from clock import timed_train
from speed import run


def main() -> None:
    """Run both commands in turn; print the medians."""
    parser = argparse.ArgumentParser(description="Start-up.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="nothing tokenized yet, and no library's file in memory")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"python train.py, to its first step": [], "lightune predict RUN --text TEXT": []}
    with tempfile.TemporaryDirectory() as folder:
        # one round more, so that all caches are filled
        for number in range(arguments.rounds + 1):
            cache: dict[str, str] = {}
            if arguments.cold:
                cache = {"HF_DATASETS_CACHE": f"{folder}/cache{number}"}
                forget_files()
            run_dir, started = Path(folder) / f"run{number}", time.time()
            small = ["trainer.max_steps=1", "data.max_eval_samples=32", "report=false"]
            began = timed_train(*small, f"hydra.run.dir={run_dir}", **cache)["began"]
            if arguments.cold:
                forget_files()
            asked = time.time()
            run("-m", "lightune.commands", "predict", str(run_dir), "--text", "A fine film.")
            for name, figure in zip(seconds, (began - started, time.time() - asked), strict=True):
                seconds[name] += [figure] if number else []
    print("| command | seconds, median | least | most |\n| --- | --- | --- | --- |")
    for name, of in seconds.items():
        print(f"| `{name}` | {statistics.median(of):.1f} | {min(of):.1f} | {max(of):.1f} |")


def forget_files() -> None:
    """Drop the installed libraries from the system's memory, so that they are read from disk again."""
    if not hasattr(os, "posix_fadvise"):
        sys.exit("--cold needs Linux.")
    for path in Path(sysconfig.get_path("purelib")).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
