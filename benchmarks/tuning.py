"""Compare score and cost of the tunings, on the same rows in the same number of epochs.

python benchmarks/tuning.py DATA [--rows 2000] [--seeds 0 1 2] [--arms full lora …] [--out tuning.json] [OVERRIDE …]
python benchmarks/tuning.py DATA --score rougeL --arms full lora_all_linear qlora_all_linear -- data=dialogsum

Each run has a process and an empty cache of its own. Runs that ``--out`` already holds stay in the table.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from speed import run as run_script

ALL_LINEAR = ["tuning.r=16", "tuning.alpha=32", "tuning.target_modules=all-linear", "optimizer.lr=5e-4"]
ARMS: dict[str, list[str]] = {
    "full": ["tuning=full"],
    "frozen, lowest 3 layers": ["tuning=frozen"],
    "all but the head frozen": ["tuning=frozen", "tuning.num_layers=all", "optimizer.lr=1e-2"],
    "gradual": ["tuning=gradual"],
    "linear_probe_then_full": ["tuning=linear_probe_then_full"],
    "lora": ["tuning=lora", "optimizer.lr=1e-3"],
    "lora_all_linear": ["tuning=lora", *ALL_LINEAR],
    "qlora_all_linear": ["tuning=qlora", *ALL_LINEAR],
}
METRICS = ("train/seconds", "train/tokens_per_second", "train/peak_memory_bytes", "parameters/trainable")


def main() -> None:
    """Run each arm with each seed in turn, and print a table of all runs."""
    parser = argparse.ArgumentParser(description="Ways of tuning, side by side.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--score", default="accuracy", help="a metric of the task, of test and validation")
    parser.add_argument("--out", type=Path, default=Path("tuning.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py, for every arm")
    arguments = parser.parse_intermixed_args()
    runs: list[dict[str, float | str]] = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    for seed in arguments.seeds:
        for arm in arguments.arms:
            overrides = [*common(arguments), f"seed={seed}", *ARMS[arm], *arguments.overrides]
            try:
                runs.append({"arm": arm, "seed": seed, **train(overrides, score=arguments.score)})
            except SystemExit as error:
                # a tuning that this machine or model does not allow; the others still run
                print(f"seed {seed}: {arm:25} {str(error).strip().splitlines()[-1]}", flush=True)
                continue
            print(f"seed {seed}: {arm:25} {runs[-1]['test']:.3f} {runs[-1]['seconds']:.0f} s", flush=True)
            arguments.out.write_text(json.dumps(runs, indent=2) + "\n")
    print("\n".join(table(runs)))


def common(arguments: argparse.Namespace) -> list[str]:
    """Return the overrides of every arm, but for those that the command line gives."""
    given = {override.partition("=")[0] for override in arguments.overrides}
    overrides = [
        "data=imdb", f"data.path={arguments.data.resolve()}", f"data.max_train_samples={arguments.rows}",
        "data.max_eval_samples=1000",
    ]  # fmt: skip
    return [override for override in overrides if override.partition("=")[0] not in given]


def train(overrides: list[str], *, score: str) -> dict[str, float]:
    """Train in a process of its own; return its score on ``test`` and ``val``, its cost, ``seconds`` of the whole command and ``checkpoint_bytes``."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_script("train.py", *overrides, f"hydra.run.dir={folder}/run", HF_DATASETS_CACHE=f"{folder}/cache")
        seconds = time.perf_counter() - started
        metrics = json.loads(Path(folder, "run/metrics.json").read_text())
        size = Path(folder, "run/checkpoints/best.ckpt").stat().st_size
    scores = {split: metrics[f"{split}/{score}"] for split in ("test", "val")}
    return {**scores, **{name: metrics[name] for name in METRICS}, "seconds": seconds, "checkpoint_bytes": size}


def table(runs: list[dict[str, float | str]]) -> list[str]:
    """Tabulate means over seeds, the standard deviation of the score, and the speed relative to ``full`` of the same seed."""
    lines = [
        "| tuning | test | seeds | training | whole command | speed-up | tokens/s | parameters | memory | checkpoint |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    full = {run["seed"]: run for run in runs if run["arm"] == "full"}
    for arm in ARMS:
        if not (same_arm := [run for run in runs if run["arm"] == arm]):
            continue
        mean = {name: statistics.mean(float(run[name]) for run in same_arm) for name in same_arm[0] if name != "arm"}
        scores = [float(run["test"]) for run in same_arm]
        spread = f" ± {statistics.stdev(scores):.3f}" if len(same_arm) > 1 else ""
        ratios = [
            float(full[run["seed"]]["train/seconds"]) / float(run["train/seconds"])
            for run in same_arm
            if run["seed"] in full
        ]
        lines.append(
            f"| {arm} | {mean['test']:.3f}{spread} | {', '.join(f'{score:.3f}' for score in scores)} | "
            f"{mean['train/seconds']:.0f} s | {mean['seconds']:.0f} s | {statistics.median(ratios) if ratios else 0:.1f} | "
            f"{mean['train/tokens_per_second']:.0f} | {mean['parameters/trainable'] / 1e6:.2f}M | {mean['train/peak_memory_bytes'] / 1e9:.1f} GB | "
            f"{mean['checkpoint_bytes'] / 1e6:.1f} MB |"
        )
    return lines


if __name__ == "__main__":
    main()
