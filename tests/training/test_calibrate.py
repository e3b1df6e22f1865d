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
from scipy.special import expit, logit, softmax
from sklearn.metrics import f1_score, roc_auc_score

import lightune
from lightune.commands import cli
from lightune.runs.load_run import rebuild_data
from lightune.runs.run_folder import Run
from lightune.training.calibrate import fit_temperature, fit_thresholds, rescale

START = Callable[..., subprocess.CompletedProcess[str]]
Train = Callable[..., dict[str, float]]
# stopped early, a model is less sure than it is right
SHORT = ["optimizer.lr=3e-3", "trainer.max_epochs=1", "data.batch_size=16"]
RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(temperature: float):
    logits = RNG.normal(0, 2, (4000, 3))
    true = np.array([RNG.choice(3, p=p) for p in softmax(logits, axis=1)])
    probabilities = softmax(logits * temperature, axis=1)
    found = fit_temperature(probabilities, true)
    assert found == pytest.approx(temperature, rel=0.1)
    assert found == fit_temperature(probabilities, true)
    assert rescale(probabilities, temperature) == pytest.approx(softmax(logits, axis=1), abs=1e-6)


def test_few_rows_that_are_all_right_do_not_make_a_model_sure_of_itself():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert 0.4 < fit_temperature(probabilities, np.array([0, 1, 0])) < 1
    assert 1 < fit_temperature(probabilities, np.array([1, 0, 1])) < 3


def labelled(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of which some are rare: few rows of these reach one half."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([0, -2, -3, -4], [2, 2, 1.5, 1.5], (rows, 4))
    return expit(logits), (rng.random(logits.shape) < expit(logits)).astype(int)


def test_thresholds_raise_macro_f1_on_other_rows():
    thresholds = fit_thresholds(*labelled(500, seed=1))
    probabilities, true = labelled(5000, seed=2)
    better, half = (f1_score(true, probabilities > limit, average="macro") for limit in (thresholds, 0.5))
    assert better > half + 0.05


def test_a_label_of_hardly_any_rows_has_the_threshold_of_all():
    probabilities, true = labelled(500, seed=1)
    pooled = fit_thresholds(probabilities.reshape(-1, 1), true.reshape(-1, 1))[0]
    # the only row that has it is of a probability that says nothing
    lonely = np.zeros((500, 1), dtype=int)
    lonely[17] = 1
    rare = np.full((500, 1), 0.001)
    rare[17] = 0.9
    found = fit_thresholds(np.hstack([probabilities, rare]), np.hstack([true, lonely]))[-1]
    assert found == pytest.approx(pooled, abs=0.1)


def test_without_a_label_a_threshold_is_one_half():
    assert fit_thresholds(np.full((5, 2), 0.2), np.zeros((5, 2), dtype=int)) == [0.5, 0.5]
