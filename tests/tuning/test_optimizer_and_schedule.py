import csv
import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from architectures import small
from conftest import KILLER, ROOT
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import OmegaConf
from torch.optim import lr_scheduler
from transformers import AutoModelForSequenceClassification, get_cosine_schedule_with_warmup

import lightune
from lightune.common.errors import UserError
from lightune.data.batches.dealt import Dealt
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.tuning.optimizer_and_schedule import (
    make_optimizer,
    make_scheduler,
    num_training_steps,
    parameter_groups,
    schedule,
)


def test_biases_and_norms_are_not_decayed_and_no_parameter_is_missing(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = parameter_groups(model)
    assert plain["weight_decay"] == 0.0
    assert all(name.endswith("bias") or "LayerNorm" in name for name in (names[id(p)] for p in plain["params"]))
    assert not any(name.endswith("bias") or "LayerNorm" in name for name in (names[id(p)] for p in decayed["params"]))
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_frozen_parameters_are_not_optimized(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    model.bert.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(model)) == 2  # the classifier's


def scales(model: torch.nn.Module) -> dict[str, float]:
    rates = {
        id(parameter): group["lr_scale"]
        for group in parameter_groups(model, layerwise_lr_decay=0.5)
        for parameter in group["params"]
    }
    return {name: rates[id(parameter)] for name, parameter in model.named_parameters()}


def test_rates_fall_from_layer_to_layer(tiny_bert: Path):
    for name, scale in scales(AutoModelForSequenceClassification.from_pretrained(tiny_bert)).items():
        wanted = 0.25 if "embeddings" in name else 0.5 if "layer.0." in name else 1.0
        assert scale == wanted, name


@pytest.mark.parametrize("name", ["gpt2", "qwen", "t5", "bart", "deberta", "modernbert"])
def test_rates_fall_in_every_architecture(name: str):
    found = scales(small(name))
    lowest = [scale for weight, scale in found.items() if re.search(r"embed|wte|wpe|shared", weight)]
    assert set(lowest) == {0.25}
    assert {0.5, 1.0} <= set(found.values())


def test_the_optimizer_has_the_rates_and_biases_are_still_not_decayed(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    optimizer = make_optimizer(partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1), model, layerwise_lr_decay=0.5)
    for group in optimizer.param_groups:
        names = {name for name, p in model.named_parameters() if any(p is one for one in group["params"])}
        assert (group["weight_decay"] == 0) == any("bias" in name or "LayerNorm" in name for name in names)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3, 5e-4, 2.5e-4}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_a_factor_out_of_bounds_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=r"layerwise_lr_decay=1\.5"):
        parameter_groups(AutoModelForSequenceClassification.from_pretrained(tiny_bert), layerwise_lr_decay=1.5)


def test_the_rate_warms_up_to_its_peak_and_falls_to_zero():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, num_training_steps=10, name="linear", warmup_ratio=0.2)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:3] == [0.0, 0.5, 1.0]
    assert rates[-1] == 0.0
    assert rates[2:] == sorted(rates[2:], reverse=True)


@pytest.mark.parametrize(
    ("settings", "batches", "steps"),
    [
        ({"max_epochs": 3}, 10, 30),
        ({"max_epochs": 3, "accumulate_grad_batches": 4}, 10, 9),  # 4 + 4 + 2 batches an epoch
        ({"max_epochs": 3, "max_steps": 7}, 10, 7),
        ({"max_epochs": -1, "max_steps": 70}, 10, 70),
        ({"max_epochs": 2, "limit_train_batches": 3}, 10, 6),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 10, 10),
    ],
)
def test_steps_are_counted_from_the_trainers_settings(settings: dict, batches: int, steps: int):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)
    assert num_training_steps(trainer, batches_per_epoch=lambda world_size: batches) == steps


@pytest.mark.parametrize(
    ("done", "steps"),
    [
        ((0, 0, 0), 12),  # 4 + 4 + 4 steps of 10 batches, by threes
        ((2, 0, 6), 12),  # as it would have been
        ((4, 0, 10), 12),  # at the end of an epoch, before its validation
        ((6, 1, 6), 12),
        ((20, 1, 5), 20 + 3 + 4),  # 20 steps in batches of another kind; the step in progress is one of batch 5 alone
        ((20, 1, 10), 20 + 4),
    ],
)
def test_a_resumed_run_has_the_steps_done_and_those_to_come(done: tuple[int, int, int], steps: int):
    settings = {"max_epochs": 3, "accumulate_grad_batches": 3}
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)
    assert num_training_steps(trainer, batches_per_epoch=lambda world_size: 10, dealt=Dealt(*done)) == steps


def test_lightning_may_clip_gradients_of_a_fused_optimizer_in_mixed_precision(tiny_bert: Path):
    """torch marks fused optimizers by a private name, for which Lightning refuses to clip."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    fused = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    assert fused(model.parameters())._step_supports_amp_scaling
    assert not make_optimizer(fused, model, layerwise_lr_decay=None)._step_supports_amp_scaling


def rates(factory: partial, *, steps: int, interval: str = "step", lr: float = 1.0) -> list[float]:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    config = make_scheduler(factory, optimizer, interval=interval, monitor=None, length=steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        config["scheduler"].step()
    return [*found, optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("factory", "first", "highest", "lowest"),
    [
        (partial(lr_scheduler.OneCycleLR), 1 / 25, 1.0, 0.0),
        (partial(lr_scheduler.OneCycleLR, max_lr=3.0), 3 / 25, 3.0, 0.0),
        (partial(lr_scheduler.CosineAnnealingLR), 1.0, 1.0, 0.0),
        (partial(lr_scheduler.CosineAnnealingLR, T_max=40), 1.0, 1.0, 0.5),
        (partial(lr_scheduler.PolynomialLR), 1.0, 1.0, 0.0),
        (partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.5), 1.0, 1.0, 0.5),
        (partial(lr_scheduler.StepLR, step_size=10), 1.0, 1.0, 0.01),
        (partial(get_cosine_schedule_with_warmup, num_warmup_steps=5), 0.0, 1.0, 0.0),
    ],
)
def test_schedules_of_the_libraries_span_the_run(factory: partial, first: float, highest: float, lowest: float):
    found = rates(factory, steps=20)
    assert (found[0], min(found[1:])) == (pytest.approx(first), pytest.approx(lowest, abs=1e-4))
    assert max(found) == pytest.approx(highest, rel=0.02)


Train = Callable[..., dict[str, float]]


def trained(train_here: Train, reviews: Path, *overrides: str) -> list[dict[str, str]]:
    """Train two epochs of 12 steps, and return the rows of ``metrics.csv``."""
    fixed = ["data=local", f"data.path={reviews}", "data.max_train_samples=90", "trainer.log_every_n_steps=1"]
    train_here(*fixed, "data.batch_size=8", "trainer.max_epochs=2", "optimizer.lr=1e-3", *overrides)
    with (reviews.parent / "run" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def by_step(rows: list[dict[str, str]]) -> list[float]:
    return [float(row["train/learning_rate"]) for row in rows if row["train/learning_rate"]]


@pytest.mark.parametrize("validations", [1, 4])
def test_a_plateau_lowers_the_rate_after_each_validation(train_here: Train, reviews: Path, validations: int):
    never_better = ["scheduler.patience=0", "+scheduler.threshold=9", "+scheduler.threshold_mode=abs"]
    often = f"trainer.val_check_interval={12 // validations}"
    rows = trained(train_here, reviews, "scheduler=plateau", *never_better, often, "~callbacks.early_stopping")
    wanted = [1e-3 / 2 ** max(0, step * validations // 12 - 1) for step in range(24)]
    assert by_step(rows) == pytest.approx(wanted)


def test_a_plateau_watches_another_figure(train_here: Train, reviews: Path):
    asked = ["scheduler=plateau", "scheduler_monitor=val/accuracy", "scheduler.mode=max", "scheduler.patience=9"]
    assert len(set(by_step(trained(train_here, reviews, *asked)))) == 1
    with pytest.raises(SystemExit) as error:
        trained(train_here, reviews, "scheduler=plateau", "scheduler_monitor=val/acuracy")
    assert "scheduler_monitor=val/acuracy: no such figure is measured.\nDid you mean 'val/accuracy'" in str(
        error.value.__cause__ or error.value.__context__ or error.value
    )
    assert not (reviews.parent / "run" / "metrics.csv").exists()


def test_a_schedule_may_move_by_epochs(train_here: Train, reviews: Path):
    cosine = [
        "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR",
        "~scheduler.name",
        "~scheduler.warmup_ratio",
    ]
    found = by_step(trained(train_here, reviews, "scheduler_interval=epoch", *cosine))
    assert found == pytest.approx([1e-3] * 12 + [5e-4] * 12)


def test_after_a_probe_the_rate_is_the_schedules(train_here: Train, reviews: Path):
    cosine = [
        "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR",
        "~scheduler.name",
        "~scheduler.warmup_ratio",
    ]
    probe = ["tuning=linear_probe_then_full", "tuning.share=0.5", "tuning.probe_lr=0.1"]
    found = by_step(trained(train_here, reviews, *cosine, *probe))
    assert found[:12] == pytest.approx([0.1] * 12)
    assert found[12:] == pytest.approx([1e-3 * (1 + math.cos(math.pi * step / 24)) / 2 for step in range(12, 24)])


def test_a_schedule_free_optimizer_is_measured_at_its_average(
    train_here: Train, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "schedule_free.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LIGHTUNE_ALLOWED_TARGETS", "schedule_free")
    away = [f"~optimizer.{name}" for name in ("betas", "eps", "fused")]
    optimizer = ["optimizer._target_=schedule_free.ScheduleFree", "+optimizer.beta=0.5", *away]
    rows = trained(
        train_here, reviews, *optimizer, "optimizer.lr=0.5", "scheduler=constant", "scheduler.warmup_ratio=0",
        "task.calibrate=false",
    )  # fmt: skip
    best, last = (torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    # Lightning numbers the groups' weights in the order of the model's
    [state] = best["optimizer_states"]
    assert not any(group["train_mode"] for group in state["param_groups"] + last["optimizer_states"][0]["param_groups"])
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    # computed again with the weights of best.ckpt
    measured = [float(row["val/loss"]) for row in rows if row["val/loss"]]
    assert pytest.approx(metrics["val/loss"], abs=1e-6) in measured
    task = lightune.load(tmp_path / "run").task
    assert all(torch.equal(weight, best["state_dict"][name]) for name, weight in task.state_dict().items())


def test_eight_bit_adamw_trains_and_its_state_is_read_again(
    train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path
):
    pytest.importorskip("bitsandbytes")
    metrics = train_here(
        "data=local", f"data.path={reviews}", "optimizer=adamw_8bit", "optimizer.lr=1e-3", "trainer.max_epochs=1"
    )
    assert math.isfinite(metrics["test/loss"])
    state = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    wide = torch.nn.Parameter(torch.ones(64, 64))
    optimizer = instantiate(OmegaConf.load(ROOT / "conf" / "optimizer" / "adamw_8bit.yaml"))([wide])
    wide.square().sum().backward()
    optimizer.step()
    assert state
    assert optimizer.state[wide]["state1"].dtype == torch.uint8
