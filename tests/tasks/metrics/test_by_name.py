"""Metrics that a configuration names: found in torchmetrics, shown everywhere, exact on two devices."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TRAIN, command, write_reviews
from sklearn.metrics import roc_auc_score
from test_own_head import write_tags
from torchmetrics.classification import MulticlassAccuracy

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE
from lightune.tasks.metrics.by_name import named_metrics

Train = Callable[..., dict[str, float]]


def named(asked: Any, kind: str = SINGLE, labels: int = 3) -> dict[str, Any]:
    return named_metrics(asked, problem_type=kind, label_names=[*"abcdef"][:labels], measured={"accuracy", "loss"})


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
@pytest.mark.parametrize("name", ["auroc", "average_precision", "AUROC", "f1_score", "specificity"])
def test_a_name_is_torchmetrics(name: str, kind: str):
    assert type(named([name], kind)[name]).__name__.startswith({SINGLE: "Multiclass", MULTI: "Multilabel"}[kind])


@pytest.mark.parametrize("name", ["cohen_kappa", "calibration_error", "matthews_corrcoef"])
def test_others_of_one_label(name: str):
    assert [*named([name])] == [name]


@pytest.mark.parametrize("name", ["r2_score", "explained_variance", "kendall_rank_corr_coef"])
def test_of_a_regression(name: str):
    assert [*named([name], REGRESSION, 1)] == [name]


def test_options_and_metrics_of_ones_own():
    made = MulticlassAccuracy(num_classes=3, top_k=2)
    found = named({"auroc": {"average": "weighted"}, "top2": made, "accuracy": None})
    assert found["auroc"].average == "weighted"
    assert [*found] == ["auroc", "top2"]
    assert found["top2"] is made


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["aurok"], "there is no aurok .* 'auroc'"),
        ({"auroc": {"averages": "macro"}}, "averages"),
        ({"accuracy": {"average": "macro"}}, "the name is taken"),
        ({"val/auroc": None}, "or cannot name a figure"),
        (["fbeta_score"], "beta"),
    ],
)
def test_what_cannot_be_shown_is_refused(asked: Any, said: str):
    with pytest.raises(UserError, match=said) as refused:
        named(asked)
    assert len(str(refused.value).splitlines()) <= 5


@pytest.mark.parametrize("asked", ["[roc]", "[stat_scores]", "{auroc: {average: none}}"])
def test_what_is_not_one_number_is_told_before_training(
    train_here: Train, reviews: Path, tmp_path: Path, asked: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", f"task.metrics={asked}")
    assert "is not one number, so it cannot be shown" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoints/*.ckpt"))


def test_a_metric_is_shown_everywhere_and_may_be_monitored(
    train_here: Train, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    metrics = train_here(
        "data=local", f"data.path={reviews}", "optimizer.lr=1e-3", "report=true", "trainer.max_epochs=2",
        "task.metrics={auroc: null, top1: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 2}}",
        "monitor.metric=val/auroc", "monitor.mode=max",
    )  # fmt: skip
    run = tmp_path / "run"
    assert "│ auroc " in capsys.readouterr().out
    assert metrics["monitored"] == metrics["val/auroc"]
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    wanted = roc_auc_score([row["true"] for row in rows], [row["probabilities"][1] for row in rows])
    assert metrics["test/auroc"] == pytest.approx(wanted, abs=1e-4)
    assert ">auroc<" in (run / "report.html").read_text()
    cli.main(["evaluate", str(run)])
    assert f"│ auroc             │ {metrics['val/auroc']:.4f} │ {metrics['test/auroc']:.4f}" in capsys.readouterr().out


def test_tags_of_words_are_measured(train_here: Train, tmp_path: Path):
    tags = write_tags(tmp_path / "tags.jsonl")
    metrics = train_here(
        "task=token_classification", "data=local", f"data.path={tags}", "data.doc_stride=8", "optimizer.lr=1e-2",
        "task.metrics=[accuracy,auroc,f1]", "trainer.max_epochs=6",
    )  # fmt: skip
    assert metrics["test/accuracy"] == metrics["test/auroc"] == metrics["test/f1"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("rows", [81, 20])
def test_two_devices_measure_what_one_does(tiny_bert: Path, tmp_path: Path, rows: int):
    data = write_reviews(tmp_path / "reviews.csv", rows)
    run = tmp_path / "run"
    done = command(
        TRAIN, "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path='{tiny_bert}'",
        "data.max_length=32", "data.batch_size=4", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
        "report=false", "trainer.max_epochs=1", "trainer.precision=32-true", "task.metrics=[auroc]",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    wanted = roc_auc_score([row["true"] for row in rows], [row["probabilities"][1] for row in rows])
    assert metrics["test/auroc"] == pytest.approx(wanted, abs=1e-4)
    assert torch.isfinite(torch.tensor(metrics["val/auroc"]))
    # both have loaded what the first has calibrated
    assert metrics["calibration/temperature"] != 1
    losses = [-math.log(row["probabilities"][row["true"]]) for row in rows]
    assert metrics["test/loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_calibration_error_is_measured_once_or_as_asked(train_here: Train, reviews: Path):
    found = [
        train_here("data=local", f"data.path={reviews}", "trainer.max_epochs=1", f"task.metrics={asked}")
        for asked in ("null", "[calibration_error]", "{calibration_error: {norm: max}}")
    ]
    errors = [metrics["test/calibration_error"] for metrics in found]
    assert errors[0] == errors[1] < errors[2]
