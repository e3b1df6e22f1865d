import re
from functools import partial
from pathlib import Path

import pytest
import torch
from architectures import small
from lightning import Trainer
from transformers import AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.data.batches.dealt import Dealt
from lightune.tuning.optimizer_and_schedule import (
    make_optimizer,
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
