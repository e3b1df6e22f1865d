"""``plan=true`` and ``find=…`` on the command line, on a tiny model."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TRAIN, command, write_reviews
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.data.batches.frozen_states import FrozenStates
from lightune.tasks import TextClassification
from lightune.training.plan import cost, find_batch_size, find_learning_rate, output, timing

pytestmark = pytest.mark.slow

GB = 10**9


@pytest.fixture(scope="module")
def run_train(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Callable[..., tuple[Path, str]]:
    """Run ``train.py`` on 200 toy reviews, uneven in length; return the run's folder and what was printed."""
    folder = tmp_path_factory.mktemp("plan")
    write_reviews(folder / "reviews.csv", 200)

    def run(name: str, *overrides: str) -> tuple[Path, str]:
        done = command(
            TRAIN,
            "data=local",
            "data.path=reviews.csv",
            f"model.pretrained_model_name_or_path='{tiny_bert}'",
            "data.max_length=32",
            "data.batch_size=8",
            "trainer=cpu",
            "report=false",
            f"hydra.run.dir={folder / name}",
            *overrides,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        return folder / name, done.stdout

    return run


def test_a_plan_predicts_the_counts_of_the_run(run_train: Callable[..., tuple[Path, str]]):
    overrides = ["trainer.max_epochs=2", "trainer.accumulate_grad_batches=2", "tuning=frozen", "tuning.num_layers=1"]
    folder, printed = run_train("counted", "plan=true", *overrides)
    plans = json.loads((folder / "plan.json").read_text())
    assert plans["asked"] == "frozen"
    assert list(plans["tunings"]) == ["frozen", "full", "lora"]
    for text in ("frozen", "full", "lora", "padding efficiency", "start to end"):
        assert text in " ".join(printed.split())
    assert not (folder / "checkpoints").exists() and not (folder / "metrics.json").exists()

    # the run may use the plan's folder
    run_train("counted", *overrides)
    metrics = json.loads((folder / "metrics.json").read_text())
    plan = plans["tunings"]["frozen"]
    for name in ("parameters/total", "parameters/trainable"):
        assert plan[name] == metrics[name]
    assert plan["train/padding_efficiency"] == pytest.approx(metrics["train/padding_efficiency"], rel=1e-9)
    tokens = metrics["train/tokens_per_second"] * metrics["train/seconds"]
    assert plan["train/tokens"] == pytest.approx(tokens, rel=1e-9)
    steps = (folder / "metrics.csv").read_text().splitlines()[-1].split(",")[1]
    assert plan["train/steps"] == int(steps)
    full, lora = plans["tunings"]["full"], plans["tunings"]["lora"]
    assert full["parameters/trainable"] == full["parameters/total"] > lora["parameters/trainable"]
    assert full["train/flops"] > plan["train/flops"] > 0
    assert all(cost["train/seconds"] > 0 for cost in plans["tunings"].values())


def test_a_range_test_writes_a_plot_prints_a_command_and_trains_nothing(
    run_train: Callable[..., tuple[Path, str]], tiny_bert: Path
):
    before = sha256((tiny_bert / "model.safetensors").read_bytes()).digest()
    folder, printed = run_train("range", "find=lr", "layerwise_lr_decay=0.9", "trainer.accumulate_grad_batches=2")
    result = json.loads((folder / "lr_find.json").read_text())
    assert (folder / "lr_find.png").stat().st_size > 1000
    assert result["lr"] == sorted(result["lr"])
    assert (
        find_learning_rate.MIN_RATE <= result["suggestion"] <= result["least_at"] <= find_learning_rate.MAX_RATE * 1.001
    )
    assert result["loss"][0] == pytest.approx(0.69, abs=0.3), "the loss is a mean, not a sum"
    assert f"optimizer.lr={result['suggestion']:.1e}" in printed and "find=" not in printed
    assert not (folder / "checkpoints").exists()
    assert sha256((tiny_bert / "model.safetensors").read_bytes()).digest() == before


def test_a_batch_size_is_found_and_the_effective_batch_kept(run_train: Callable[..., tuple[Path, str]]):
    folder, printed = run_train("size", "find=batch_size", "trainer.accumulate_grad_batches=4")
    result = json.loads((folder / "batch_size.json").read_text())
    assert result["largest"] == result["most"], "all toy reviews fit"
    assert "data.batch_size=32 trainer.accumulate_grad_batches=1" in printed
    assert not (folder / "checkpoints").exists()


@pytest.fixture
def composed(reviews: Path, tiny_bert: Path) -> Callable[..., dict[str, Any]]:
    """Return the configuration of a run on toy reviews."""

    def compose_with(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(Path(TRAIN).parent / "conf"), version_base="1.3"):
            cfg = compose(
                "train",
                [
                    "data=local",
                    f"data.path={reviews}",
                    f"model.pretrained_model_name_or_path='{tiny_bert}'",
                    "run_dir=unused",
                    "data.max_length=32",
                    "trainer=cpu",
                    *overrides,
                ],
            )
        return OmegaConf.to_container(cfg, resolve=True)

    return compose_with


def test_an_error_says_that_not_one_row_fits(composed: Callable[..., dict[str, Any]]):
    """A limit below the memory of the process: after one step, nothing fits."""
    with pytest.raises(UserError, match=r"Not one row of \d+ tokens fits"):
        find_batch_size.find(composed(), limit_bytes=1)


@pytest.mark.parametrize("tuning", ["full", "gradual", "linear_probe_then_full"])
def test_each_step_of_a_range_test_has_its_own_rate_and_moves_all_weights(
    composed: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: str
):
    rates, trained = [], []

    def note(self: TextClassification, optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        trained.append(all(parameter.grad is not None for parameter in self.model.parameters()))

    monkeypatch.setattr(TextClassification, "on_before_optimizer_step", note)
    config = composed(f"tuning={tuning}", "model.pooling=mean")
    result = find_learning_rate.range_test(config, tmp_path)
    assert rates == [find_learning_rate.rate_at(step) for step in range(len(rates))]
    assert len(rates) >= len(result["loss"]) > 50
    assert all(trained)


def tried(*, bytes_per_row: int, limit: int, max_rows: int = 8192, is_careful: bool) -> tuple[list[int], int]:
    rows: list[int] = []

    def step(number: int) -> int | None:
        rows.append(number)
        memory = GB + number * bytes_per_row
        return None if not is_careful and memory > limit else memory

    attempts = find_batch_size.search(step, limit=limit, max_rows=max_rows, is_careful=is_careful)
    return rows, max(attempt.rows for attempt in attempts if attempt.fits)


@pytest.mark.parametrize("is_careful", [True, False])
def test_the_largest_batch_is_found_within_an_eighth(is_careful: bool):
    rows, largest = tried(bytes_per_row=10**7, limit=2 * GB, is_careful=is_careful)
    assert 100 * 7 / 8 - 1 <= largest <= 100
    if is_careful:
        assert max(rows) <= 100, "no size beyond the limit was tried"


def test_no_more_rows_are_tried_than_there_are():
    rows, largest = tried(bytes_per_row=1, limit=2 * GB, max_rows=91, is_careful=True)
    assert largest == max(rows) == 91


@pytest.mark.parametrize(
    ("found", "options"),
    [
        ({"largest": 100}, ["data.batch_size=64", "trainer.accumulate_grad_batches=1"]),
        ({"largest": 20}, ["data.batch_size=16", "trainer.accumulate_grad_batches=4"]),
        (
            {"largest": 20, "by_tokens": True, "tokens": 8192},
            ["data.max_tokens_per_batch=4096", "trainer.accumulate_grad_batches=4"],
        ),
    ],
)
def test_an_optimizer_step_keeps_its_rows(found: dict[str, object], options: list[str]):
    known = {"longest": 256, "effective": 64, "accumulate": 2, "by_tokens": False, "tokens": None}
    assert output.batch_size_overrides({**known, **found}) == options


def test_a_validation_batch_must_fit_too(composed: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch):
    """Memory runs out in validation alone, at more than 16 rows."""
    validation_step = TextClassification.validation_step

    def step(self: TextClassification, batch: dict[str, Any], batch_idx: int) -> None:
        if len(batch["input_ids"]) > 16:
            raise torch.OutOfMemoryError
        validation_step(self, batch, batch_idx)

    monkeypatch.setattr(TextClassification, "validation_step", step)
    assert find_batch_size.find(composed())["largest"] == 16
    assert find_batch_size.find(composed("trainer.limit_val_batches=0"))["largest"] > 16


def test_a_calibrated_checkpoint_is_validated_twice(
    composed: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cost, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(cost, "total", lambda work, **_: float(len(work)))
    plain, calibrated = (
        cost.measure(
            composed(f"task.calibrate={value}", "data.eval_batch_size=4", "trainer.max_epochs=1"),
            started_at=0.0,
            is_quiet=True,
        )
        for value in ("false", "true")
    )
    assert plain["validation/seconds"] > 1
    assert calibrated["evaluation/seconds"] - plain["evaluation/seconds"] == plain["validation/seconds"]


def test_a_file_that_is_mapped_into_memory_takes_none_of_a_gpus(tmp_path: Path):
    states = FrozenStates(tmp_path / "states", lengths=np.array([3, 5]), order=np.array([0, 1]), width=4)
    assert cost.mapped_bytes([states, states], torch.device("cpu")) == 2 * 8 * 4 * 2
    assert cost.mapped_bytes([states, states], torch.device("cuda")) == 0


def test_a_time_is_read_once_the_accelerator_has_finished(monkeypatch: pytest.MonkeyPatch):
    finished: list[bool] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: finished.append(True))
    timing.now()
    assert finished


def test_the_suggested_rate_lies_where_the_loss_falls_and_well_before_it_rises():
    rates = [find_learning_rate.rate_at(step) for step in range(find_learning_rate.STEPS)]
    rising = [0.6 + 0.1 * step for step in range(40)]
    evenly = [1.0] * 40 + [1.0 - 0.02 * step for step in range(20)] + rising
    suggestion, least_at = find_learning_rate.suggested(rates, evenly)
    assert rates[40] <= suggestion <= least_at / 3 and least_at in rates[59:61]
    early = [1.0] * 40 + [0.7, 0.65] + [0.65 - 0.001 * step for step in range(18)] + rising
    assert find_learning_rate.suggested(rates, early)[0] in rates[39:41]
    with pytest.raises(UserError, match="falls at no rate"):
        find_learning_rate.suggested(rates, sorted(evenly))


def test_plan_and_find_exclude_each_other(train_here: Callable[..., object], reviews: Path, tmp_path: Path):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", "plan=true", "find=lr")
    shutil.rmtree(tmp_path / "run")
