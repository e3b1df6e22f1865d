"""A run's best checkpoint is calibrated on validation, and all that read it agree."""

import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORDS, review, write_reviews
from scipy.special import logit
from sklearn.metrics import f1_score, roc_auc_score

import lightune
from lightune.commands import cli
from lightune.runs.load_run import rebuild_data
from lightune.runs.run_folder import Run

START = Callable[..., subprocess.CompletedProcess[str]]
Train = Callable[..., dict[str, float]]
# stopped early, a model is less sure than it is right
SHORT = ["optimizer.lr=3e-3", "trainer.max_epochs=1", "data.batch_size=16"]


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """Rows of several labels, seldom there even where the words are that they go with."""
    rng = random.Random(0)
    path = tmp_path / "rare.jsonl"
    with path.open("w") as file:
        for _ in range(600):
            group = rng.choice(["positive", "negative"])
            labels = [name for name, words in WORDS.items() if words is WORDS[group] and rng.random() < 0.4]
            labels += ["rest"] if rng.random() < 0.3 else []
            file.write(json.dumps({"text": review(group, rng), "label": "|".join(labels)}) + "\n")
    return path


def rows_of(run: Path, split: str = "") -> list[dict]:
    return [json.loads(line) for line in (run / f"{split}predictions.jsonl").read_text().splitlines()]


def test_probabilities_are_calibrated_wherever_they_are_read(train_here: Train, tmp_path: Path):
    options = ["data=local", f"data.path={write_reviews(tmp_path / 'reviews.csv', 400)}", *SHORT]
    plain, run = train_here(*options, "task.calibrate=false"), tmp_path / "run"
    assert not [name for name in plain if name.startswith("calibration/")]
    before = rows_of(run)
    metrics = train_here(*options)
    temperature, after = metrics["calibration/temperature"], rows_of(run)
    assert temperature < 0.8
    assert [row["predicted"] for row in after] == [row["predicted"] for row in before]
    for name in ("val/loss", "test/loss", "test/calibration_error"):
        assert metrics[name] < plain[name], name
    assert metrics["calibration/error_before"] == pytest.approx(plain["test/calibration_error"], abs=1e-3)
    odds = [[np.log(row["probabilities"][0] / row["probabilities"][1]) for row in rows] for rows in (before, after)]
    assert odds[1] == pytest.approx(np.array(odds[0]) / temperature, abs=1e-3)
    # all figures and rows are of the checkpoint as it is now
    losses = [-np.log(row["probabilities"][row["true"]]) for row in rows_of(run, "validation_")]
    assert np.mean(losses) == pytest.approx(metrics["val/loss"], abs=1e-4)
    texts = rebuild_data(run).rows["test"]["text"]
    found = [list(row["probabilities"].values()) for row in lightune.load(run).predict(texts)]
    assert np.array(found) == pytest.approx(np.array([row["probabilities"] for row in after]), abs=1e-5)


def test_a_finished_run_that_finds_nothing_better_stays_as_it_is(start: START, tmp_path: Path):
    run, options = tmp_path / "run", ["optimizer.lr=3e-3", "tuning=lora", "trainer.max_epochs=1"]
    assert start(run, *options).returncode == 0
    # training goes on from the last one, though the best was written after it
    assert Run(run).checkpoint_to_resume() == Run(run).last
    ended = [(Run(run).best.read_bytes(), rows_of(run))]
    done = start(run, *options, f"resume='{run}'")
    assert done.returncode == 0, done.stderr
    assert [(Run(run).best.read_bytes(), rows_of(run))] == ended
    assert torch.load(Run(run).best, weights_only=True)["calibration"]["temperature"] != 1


def test_thresholds_decide_wherever_labels_are_read(
    train_here: Train, rare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = [
        "data=local",
        f"data.path={rare}",
        "data.label_separator='|'",
        "optimizer.lr=3e-3",
        "trainer.max_epochs=3",
    ]
    plain = train_here(*options, "task.calibrate=false")
    metrics, run = train_here(*options, "task.metrics=[auroc,hamming_distance]"), tmp_path / "run"
    names = ["negative", "positive", "rest"]
    thresholds = [metrics[f"calibration/threshold/{name}"] for name in names]
    assert metrics["val/f1"] > plain["val/f1"] and metrics["test/f1"] > plain["test/f1"]
    rows = rows_of(run)
    probabilities, true, predicted = (
        np.array([row[key] for row in rows]) for key in ("probabilities", "true", "predicted")
    )
    assert (predicted == (probabilities > thresholds)).all()
    assert metrics["test/f1"] == pytest.approx(f1_score(true, predicted, average="macro"), abs=1e-6)
    assert metrics["test/hamming_distance"] == pytest.approx((true != predicted).mean(), abs=1e-6)
    assert metrics["test/auroc"] == pytest.approx(roc_auc_score(true, probabilities, average="macro"), abs=1e-3)
    loaded = lightune.load(run)
    found = loaded.predict(rebuild_data(run).rows["test"]["text"])
    assert [row["labels"] for row in found] == [
        [n for n, has_it in zip(names, row, strict=True) if has_it] for row in predicted
    ]
    cli.main(["evaluate", str(run), "--split", "test"])
    assert f"│ f1               │ {metrics['test/f1']:.4f}" in capsys.readouterr().out
    cli.main(["export", str(run), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["thresholds"] == thresholds
    card = (tmp_path / "out" / "README.md").read_text()
    least = json.loads(re.search(r"least = (\[.*\])", card)[1])
    assert least == pytest.approx(logit(thresholds), abs=1e-5)
