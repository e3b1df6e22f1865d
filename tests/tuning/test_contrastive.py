import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from lightune.common.errors import UserError
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.runs.load_run import rebuild, rebuild_data
from lightune.tuning.contrastive import Contrastive

X, Y = [1.0, 0.0], [0.0, 2.0]


def loss_of(states: list[list[float]], labels: torch.Tensor) -> float:
    head = nn.Linear(2, 2)
    contrastive = Contrastive(head)
    contrastive.begin(world_size=1)
    head(torch.tensor(states))
    return contrastive.loss(labels).item()


def test_rows_of_one_label_are_drawn_together_and_others_to_a_right_angle():
    assert loss_of([X, X, Y], torch.tensor([0, 0, 1])) == pytest.approx(0)
    assert loss_of([X, X, Y], torch.tensor([0, 1, 1])) == pytest.approx((1 + 1 / 2) / 2), "of X and Y; of X and X"
    assert loss_of([X, X], torch.tensor([0, 0])) == loss_of([X], torch.tensor([0])) == pytest.approx(0)


def test_several_labels_are_alike_by_the_share_that_both_rows_have():
    angle = math.acos(1 / 3)
    states = [X, [math.cos(angle), math.sin(angle)]]
    assert loss_of(states, torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])) == pytest.approx(0, abs=1e-6)
    assert loss_of([X, Y], torch.tensor([[0.0, 0.0], [0.0, 0.0]])) == pytest.approx(0), "rows without a label"


@pytest.mark.parametrize("head", ["model.pooling=mean", "model.pooling=null"])
def test_the_head_is_the_logistic_regression_on_what_the_best_checkpoint_reads(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    head: str,
):
    caplog.set_level("INFO")
    metrics = train_here("data=local", f"data.path={reviews}", "tuning=contrastive", head, "trainer.max_epochs=2")
    assert metrics["val/accuracy"] > 0.7
    run = tmp_path / "run"
    _, task, _ = rebuild(run)
    data = rebuild_data(run)
    states, labels = [], []
    layer = task.model.classifier
    layer.register_forward_pre_hook(lambda of, given: states.append(of.pool(*given) if len(given) > 1 else given[0]))
    task.eval()
    with torch.no_grad():
        for batch in data.every_row("train")[1]:
            task(batch)
            labels.append(batch["labels"])
    x = torch.cat(states)
    scale = x.norm(dim=-1).mean()
    # scikit-learn has one row for two classes, and penalizes it twice as much
    expected = LogisticRegression(C=2.0, tol=1e-6, max_iter=1000).fit(x / scale, torch.cat(labels))
    temperature = metrics["calibration/temperature"]
    assert "no temperature" not in caplog.text, "the fitted head is calibrated like any other"
    margin = (layer.weight[1] - layer.weight[0]).detach() * scale * temperature
    assert margin.numpy() == pytest.approx(expected.coef_[0], rel=0.1, abs=0.05)
    optimized = read_checkpoint(run / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    assert len(optimized) < len([*task.model.parameters()]), "the optimizer leaves the head alone"


def test_what_cannot_be_compared_is_refused(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,label\n" + "".join(f"film {i},{i / 7}\n" for i in range(40)))
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={numbers}", "tuning=contrastive")
    assert "tuning=contrastive compares texts by their labels" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"trainer\.devices=1"):
        Contrastive(nn.Linear(2, 2)).begin(world_size=2)
