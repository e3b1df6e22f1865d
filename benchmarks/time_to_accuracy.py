"""Run a recipe of the IMDB speedrun: minutes from the command to the last step, and accuracy on all test rows.

python benchmarks/time_to_accuracy.py DATA RECIPE [--seeds 0 1 2] [--out speedrun.json] [OVERRIDE …]

RECIPE is an experiment of train.py. The rules are in README.md beside this file.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from clock import timed_train
from speed import gemm_peak

TEST_ROWS = 25_000


def main() -> None:
    """Train with each seed; print the line of the record table."""
    parser = argparse.ArgumentParser(description="Time to accuracy.")
    parser.add_argument("data", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("speedrun.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    # options may stand before overrides
    arguments = parser.parse_intermixed_args()
    runs = []
    for seed in arguments.seeds:
        runs.append(run_recipe(arguments, seed=seed))
        print(f"seed {seed}: {runs[-1]}", flush=True)
        arguments.out.write_text(json.dumps({"asked": vars(arguments), "runs": runs}, indent=2, default=str) + "\n")
    print("\n".join(table(arguments.recipe, runs)))


def table(recipe: str, runs: list[dict[str, float]]) -> list[str]:
    """Return the head of the record table, and the line of a recipe: means over seeds."""
    minutes, accuracy, peak = (statistics.mean(run[name] for run in runs) for name in ("minutes", "accuracy", "peak"))
    spread = statistics.stdev(run["accuracy"] for run in runs) if len(runs) > 1 else 0.0
    by_seed = ", ".join(f"{run['accuracy']:.4f}" for run in runs)
    names = ["recipe", "minutes", "TFLOP/s", "minutes x TFLOP/s", "test accuracy", "by seed"]
    figures = [
        recipe,
        f"{minutes:.1f}",
        f"{peak:.2f}",
        f"{minutes * peak:.1f}",
        f"{accuracy:.4f} ± {spread:.4f}",
        by_seed,
    ]
    return [f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), figures)]


def run_recipe(arguments: argparse.Namespace, *, seed: int) -> dict[str, float]:
    """Train and test with an empty cache; return the figures of the run, and the higher peak before and after in TFLOP/s."""
    peak = gemm_peak()
    with tempfile.TemporaryDirectory() as folder:
        run_dir, started = Path(folder) / "run", time.time()
        clock = timed_train(
            f"experiment={arguments.recipe}", f"data.path={arguments.data.resolve()}", f"seed={seed}",
            f"hydra.run.dir={run_dir}", *arguments.overrides,
            HF_DATASETS_CACHE=f"{folder}/cache", TOKENIZERS_PARALLELISM="true",
        )  # fmt: skip
        metrics = json.loads((run_dir / "metrics.json").read_text())
        with (run_dir / "predictions.jsonl").open() as file:
            tested = sum(1 for _ in file)
    if tested != TEST_ROWS:
        raise SystemExit(f"{tested} test rows were measured, not all {TEST_ROWS}: leave data.max_eval_samples out.")
    return {
        "minutes": (clock["ended"] - started) / 60,
        "training_minutes": metrics["train/seconds"] / 60,
        "accuracy": metrics["test/accuracy"],
        "validation_accuracy": metrics["val/accuracy"],
        "test_samples_per_second": TEST_ROWS / (clock["test_ended"] - clock["test_began"]),
        "peak": max(peak, gemm_peak()) / 1e12,
    }


if __name__ == "__main__":
    main()
