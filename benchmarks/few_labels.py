"""Compare contrastive tuning, plain fine-tuning and SetFit on a few rows of each class of AG News.

python benchmarks/few_labels.py DATA [--rows 8] [--samples 10] [--arms contrastive plain setfit] [--out few_labels.json] [OVERRIDE …]

Each run has a process and an empty cache of its own. Runs that ``--out`` already holds stay in the table.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from speed import MODEL, run, run_and_read

ARMS = {
    "contrastive": ["experiment=few_labels"],
    "plain": ["trainer.max_epochs=1", "trainer.min_steps=100"],
    "setfit": [],
}


def main() -> None:
    """Train each arm on each sample in turn, and print a table of all runs."""
    parser = argparse.ArgumentParser(description="Few labels, side by side.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=8, help="of each class (default: 8)")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    parser.add_argument("--out", type=Path, default=Path("few_labels.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    arguments = parser.parse_intermixed_args()
    runs = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    for sample in range(arguments.samples):
        rows = [
            "data=ag_news", f"data.path={arguments.data.resolve()}", f"data.split_seed={sample}", f"seed={sample}",
            f"data.max_train_samples_per_class={arguments.rows}", "data.max_eval_samples=40", "data.max_test_samples=100000",
        ]  # fmt: skip
        for arm in arguments.arms:
            started = time.perf_counter()
            if arm == "setfit":
                figures = run_and_read("benchmarks/few_labels.py", "--setfit", json.dumps(rows))
            else:
                figures = train([*rows, *ARMS[arm], *arguments.overrides])
            seconds = time.perf_counter() - started
            runs.append({"arm": arm, "rows": arguments.rows, "sample": sample, **figures, "seconds": seconds})
            print(f"sample {sample}: {arm:12} {figures['accuracy']:.4f} {seconds:.0f} s", flush=True)
            arguments.out.write_text(json.dumps(runs, indent=2) + "\n")
    print("\n".join(table(runs)))


def train(overrides: list[str]) -> dict[str, float]:
    """Run ``train.py`` in a process of its own; return its accuracy on test, and the seconds of its training."""
    with tempfile.TemporaryDirectory() as folder:
        run("train.py", *overrides, "report=false", f"hydra.run.dir={folder}/run", HF_DATASETS_CACHE=f"{folder}/cache")
        metrics = json.loads(Path(folder, "run/metrics.json").read_text())
    return {"accuracy": metrics["test/accuracy"], "train_seconds": metrics["train/seconds"]}


def setfit(overrides: list[str]) -> dict[str, float]:
    """Train SetFit as it comes, from the weights and on the rows that these overrides give; return what ``train`` does."""
    import numpy as np
    from hydra import compose, initialize_config_dir
    from setfit import SetFitModel, Trainer, TrainingArguments

    from lightune.common import package_index
    from lightune.runs.load_run import make_data, make_preprocessor, make_pretrained
    from lightune.train import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides)
    data = make_data(cfg, make_preprocessor(cfg, make_pretrained(cfg).load_tokenizer()))
    data.setup()
    rows = data.rows["train"].rename_column("labels", "label")
    model = SetFitModel.from_pretrained(package_index.resolve(MODEL))
    with tempfile.TemporaryDirectory() as folder:
        asked = TrainingArguments(
            output_dir=folder, seed=cfg.seed, num_iterations=20, report_to="none", save_strategy="no"
        )
        started = time.perf_counter()
        Trainer(model=model, args=asked, train_dataset=rows).train()
        seconds = time.perf_counter() - started
    predicted = np.asarray(model.predict(data.rows["test"]["text"][:]))
    accuracy = (predicted == np.asarray(data.rows["test"]["labels"])).mean()
    return {"accuracy": float(accuracy), "train_seconds": seconds}


def table(runs: list[dict[str, float | str]]) -> list[str]:
    """Tabulate the mean accuracy of each arm over the samples, its standard deviation, and the median seconds."""
    lines = [
        "| rows of each class | tuning | test accuracy | samples | training | whole command |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rows in sorted({one["rows"] for one in runs}):
        for arm in ARMS:
            if not (same := [one for one in runs if (one["rows"], one["arm"]) == (rows, arm)]):
                continue
            accuracy = [float(one["accuracy"]) for one in same]
            spread = f" ± {statistics.stdev(accuracy):.3f}" if len(same) > 1 else ""
            times = [statistics.median(float(one[name]) for one in same) for name in ("train_seconds", "seconds")]
            cells = f"{statistics.mean(accuracy):.3f}{spread} | {len(same)} | {times[0]:.0f} s | {times[1]:.0f} s"
            lines.append(f"| {rows} | {arm} | {cells} |")
    return lines


if __name__ == "__main__":
    if sys.argv[1:2] == ["--setfit"]:
        print(json.dumps(setfit(json.loads(sys.argv[2]))))
    else:
        main()
