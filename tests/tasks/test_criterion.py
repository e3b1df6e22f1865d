"""Losses by configuration: figures are exact over batches, rows and devices, and class weights are counted."""

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conftest import ROOT, write_reviews
from sklearn.utils.class_weight import compute_class_weight
from test_own_head import write_tags
from torch import nn

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE
from lightune.tasks.criterion import Criterion
from lightune.tasks.losses import FocalLoss

Train = Callable[..., dict[str, float]]
NAMES = ["a", "b", "c"]


def made(make: Any = None, *, kind: str = SINGLE, names: list[str] = NAMES, weights: Any = None, balanced: Any = None):
    return Criterion(make, problem_type=kind, label_names=names, class_weights=weights, balanced=balanced)


def rows(number: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 3, generator=generator), torch.randint(0, 3, (number,), generator=generator)


def several(number: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    logits, _ = rows(number)
    return logits, (torch.rand(number, 3, generator=torch.Generator().manual_seed(1)) > 0.6).float()


def test_the_default_is_the_problem_types_own_bit_by_bit():
    logits, labels = rows()
    assert torch.equal(made()(logits, labels)[0], F.cross_entropy(logits, labels))
    logits, labels = several()
    assert torch.equal(made(kind=MULTI)(logits, labels)[0], F.binary_cross_entropy_with_logits(logits, labels))
    numbers = made(kind=REGRESSION, names=["value"])(logits[:, 0], labels[:, 1])[0]
    assert torch.equal(numbers, F.mse_loss(logits[:, 0], labels[:, 1]))


LOSSES: dict[str, Callable[[], Criterion]] = {
    "weights": lambda: made(weights={"a": 0.1, "b": 0.2, "c": 3}),
    "small weights": lambda: made(weights={"a": 1e-4, "b": 2e-4, "c": 0}),
    "smoothed": lambda: made(lambda **o: nn.CrossEntropyLoss(label_smoothing=0.2, **o)),
    "both": lambda: made(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]), label_smoothing=0.2)),
    "ignored class": lambda: made(nn.CrossEntropyLoss(ignore_index=1)),
    "focal": lambda: made(FocalLoss),
    "each": lambda: made(nn.CrossEntropyLoss(reduction="none")),
    "margin": lambda: made(nn.MultiMarginLoss()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_batches_is_that_over_all(name: str):
    criterion, (logits, labels) = LOSSES[name](), rows(60)
    whole, count = criterion(logits, labels)
    parts = [criterion(*part) for part in zip(logits.split([1, 9, 50]), labels.split([1, 9, 50]), strict=True)]
    total = sum(float(loss) * float(targets) for loss, targets in parts)
    assert total / sum(float(targets) for _, targets in parts) == pytest.approx(float(whole), rel=1e-5)
    assert float(count) == pytest.approx(sum(float(targets) for _, targets in parts), rel=1e-5)


def test_weights_are_torchs_own():
    logits, labels = rows()
    weight = torch.tensor([1.0, 2.0, 5.0])
    loss, count = made(weights={"c": 5, "a": 1, "b": 2})(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, weight=weight))
    assert count == weight[labels].sum()
    logits, labels = several()
    loss, count = made(kind=MULTI, weights={"c": 5, "a": 1, "b": 2})(logits, labels)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight))
    assert count == len(labels)


@pytest.mark.parametrize("name", LOSSES)
def test_without_a_target_the_loss_is_0_and_has_a_gradient(name: str):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss, count = LOSSES[name]()(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert (float(loss), int(count)) == (0, 0)
    loss, count = made(weights={"a": 0, "b": 1, "c": 1})(torch.randn(2, 3), torch.zeros(2, dtype=torch.long))
    assert (float(loss), float(count)) == (0, 0)


def test_weights_follow_the_device_and_stay_float32():
    criterion = made(weights={"a": 1, "b": 2, "c": 5}).bfloat16()
    assert criterion.loss.weight.dtype == torch.float32
    assert criterion.to("meta").loss.weight.device.type == "meta"


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_the_paper(gamma: float):
    logits, labels = rows()
    p = logits.softmax(dim=-1)[torch.arange(len(labels)), labels]
    torch.testing.assert_close(FocalLoss(gamma=gamma)(logits, labels), (-((1 - p) ** gamma) * p.log()).mean())
    weight = torch.tensor([1.0, 2.0, 5.0])
    weighted = FocalLoss(gamma=gamma, weight=weight)(logits, labels)
    torch.testing.assert_close(weighted, (-weight[labels] * (1 - p) ** gamma * p.log()).mean())
    logits, labels = several()
    p = torch.where(labels > 0.5, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(FocalLoss(gamma=gamma)(logits, labels), (-((1 - p) ** gamma) * p.log()).mean())
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=gamma)(sure, torch.tensor([0])).backward()
    assert sure.grad.isfinite().all()


def own(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(dim=-1) - labels).float().abs()


def test_a_tensor_of_losses_is_averaged():
    logits, labels = rows()
    assert made(lambda: own)(logits, labels)[0] == own(logits, labels).mean()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"make": nn.CrossEntropyLoss(reduction="sum")}, "reduction=sum"),
        ({"make": nn.Linear(3, 3)}, "has weights of its own"),
        ({"make": nn.MSELoss, "weights": "balanced", "balanced": [1, 1, 1]}, "task.criterion takes no weight"),
        ({"kind": REGRESSION, "names": ["value"], "weights": "balanced"}, "a regression has no classes"),
        ({"weights": {"a": 1, "x": 2}}, "b has no weight of 0 or more, c has no weight of 0 or more, x is no label"),
        ({"weights": {"a": 1, "b": -2, "c": math.inf}}, "b has no weight of 0 or more, c has no"),
        ({"weights": "balanced", "balanced": [1.0, None, 2.0]}, "b has no weight .*\n.*for balanced a training row"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said) as refused:
        made(arguments.pop("make", None), **arguments)
    assert len(str(refused.value).splitlines()) <= 5


def uneven(folder: Path) -> Path:
    """90 rows, 70 of them positive."""
    lines = write_reviews(folder / "even.csv", 140).read_text().splitlines()
    (folder / "uneven.csv").write_text("\n".join([lines[0], *lines[1:21], *lines[71:]]) + "\n")
    return folder / "uneven.csv"


CONFIGURED = {
    "weights": "task.class_weights={positive: 0.3, negative: 2}",
    "balanced": "task.class_weights=balanced",
    "smoothed": "task.criterion={_target_: torch.nn.CrossEntropyLoss, label_smoothing: 0.1, weight: [1, 2.5]}",
    "focal": "task.criterion={_target_: lightune.tasks.losses.FocalLoss, gamma: 3}",
    "focal balanced": "task.criterion={_target_: lightune.tasks.losses.FocalLoss} task.class_weights=balanced",
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_rows_report_and_evaluate_use_the_loss_of_training(
    train_here: Train, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    settings = CONFIGURED[name].split(" task.class") if name == "focal balanced" else [CONFIGURED[name]]
    settings = [settings[0], *(f"task.class{rest}" for rest in settings[1:])]
    metrics = train_here(
        "data=local",
        f"data.path={uneven(tmp_path)}",
        "optimizer.lr=1e-2",
        "trainer.max_epochs=1",
        "report=true",
        *settings,
    )
    label = "loss (FocalLoss)" if "focal" in name else "loss (CrossEntropyLoss)"
    assert label in capsys.readouterr().out
    assert label in (tmp_path / "run" / "report.html").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    mean = sum(row["loss"] * row["targets"] for row in lines) / sum(row["targets"] for row in lines)
    assert mean == pytest.approx(metrics["test/loss"], rel=1e-5)
    signature = json.loads((tmp_path / "run" / "signatures.json").read_text())["loss"]
    assert signature.startswith("FocalLoss(" if "focal" in name else "CrossEntropyLoss(")
    (tmp_path / "uneven.csv").rename(tmp_path / "elsewhere.csv")
    cli.main(["predict", str(tmp_path / "run"), "--text", "a good film"])
    (tmp_path / "elsewhere.csv").rename(tmp_path / "uneven.csv")
    cli.main(["evaluate", str(tmp_path / "run")])
    printed = capsys.readouterr().out
    assert f"{metrics['test/loss']:.4f}" in printed and label in printed


def test_balanced_counts_the_training_rows_that_are_left(train_here: Train, tmp_path: Path):
    train_here(
        "data=local", f"data.path={uneven(tmp_path)}", "task.class_weights=balanced", "data.max_train_samples=40",
        "trainer.max_steps=1",
    )  # fmt: skip
    head = json.loads((tmp_path / "run" / "model" / "head.json").read_text())
    from lightune.runs.load_run import rebuild_data

    labels = [row["labels"] for row in rebuild_data(tmp_path / "run").datasets["train"]]
    assert len(labels) == 40
    wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert head["balanced_weights"] == pytest.approx(list(wanted))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_several_labels_and_tokens_have_class_weights(
    train_here: Train, tmp_path: Path, tuning: str, capsys: pytest.CaptureFixture[str]
):
    texts = [f"a good film number {'abcdefgh'[i % 8]}" for i in range(64)]
    lines = [{"text": text, "label": ["x", "y"] if i % 4 else ["x"] * (i % 8 == 0)} for i, text in enumerate(texts)]
    data = tmp_path / "several.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    balanced = ("task.class_weights=balanced", f"tuning={tuning}", "trainer.max_epochs=1")
    metrics = train_here("data=local", f"data.path={data}", *balanced)
    head = json.loads((tmp_path / "run" / "model" / "head.json").read_text())
    assert head["balanced_weights"] == pytest.approx([0.07, 0.23], rel=0.3)
    cli.main(["evaluate", str(tmp_path / "run")])
    assert f"{metrics['test/loss']:.4f}" in capsys.readouterr().out
    tags = write_tags(tmp_path / "tags.jsonl")
    tokens = ("task=token_classification", "data=local", f"data.path={tags}", "data.doc_stride=8")
    metrics = train_here(*tokens, *balanced)
    head = json.loads((tmp_path / "run" / "model" / "head.json").read_text())
    assert head["balanced_weights"] == pytest.approx([1.0, 1.0, 1.0])
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    mean = sum(row["loss"] * row["targets"] for row in rows) / sum(row["targets"] for row in rows)
    assert mean == pytest.approx(metrics["test/loss"], rel=1e-5)
    plain = train_here(*tokens, *balanced[1:])
    assert plain["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "task.criterion={_target_: torch.nn.CrossEntropyLoss, wight: [1, 2]}",
            "There is no option 'task.criterion.wight'",
        ),
        ("task.criterion={_target_: torch.nn.CrossEntropyLoss, weight: 2}", "expected null or a list [a number, …]"),
        ("task.criterion={_target_: torch.nn.CrossEntropyLoss, weight: [2]}", "expected a number for each of 2 labels"),
        ("task.criterion={_target_: torch.nn.CrossEntropyLoss, reduction: sum}", "reduction=sum"),
        ("task.criterion={_target_: lightune.tasks.losses.FocalLoss, gamma: -1}", "expected a number"),
        ("task.criterion=focal", "task.criterion=focal: expected _target_ with its options or null"),
        ("task.class_weights=even", "task.class_weights=even: expected balanced or"),
        ("task.class_weights={positive: 1}", "negative has no weight"),
    ],
)
def test_a_mistake_is_told(
    train_here: Train, reviews: Path, setting: str, said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", setting)
    assert said in capsys.readouterr().err


COMMANDS = [
    line
    for line in (ROOT / "docs" / "guides" / "uneven-classes.md").read_text().splitlines()
    if line.startswith("python train.py")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_docs_train(train_here: Train, tmp_path: Path, line: str):
    data = uneven(tmp_path)
    words = [word for word in shlex.split(line)[2:] if not word.startswith("data.path")]
    assert 0 <= train_here(*words, f"data.path={data}", "trainer.max_epochs=1")["test/f1"] <= 1
