import pytest
import torch
from torchmetrics import MetricCollection

from lightune.tasks.held_out_metrics import HeldOut
from lightune.tasks.metrics.squad import SquadScore


def test_figures_stay_exact_in_half_precision():
    """A module in bfloat16 would stop counting at 256."""
    held_out = HeldOut(
        MetricCollection({"squad": SquadScore(version_2_with_negative=False)}), stage="val", perplexity=True
    )
    holder = torch.nn.ModuleDict({"held_out": held_out, "layer": torch.nn.Linear(2, 2)}).to(torch.bfloat16)
    assert holder["layer"].weight.dtype == torch.bfloat16
    for step in range(600):
        held_out.loss.update(torch.tensor(2.0 + step % 2), weight=torch.tensor(3))
        held_out.metrics.update(["cat" if step % 2 else "dog"], [["cat"]])
    found = held_out.compute()
    assert float(found["val/loss"]) == pytest.approx(2.5)
    assert float(found["val/exact_match"]) == pytest.approx(0.5)
    assert float(found["val/perplexity"]) == pytest.approx(12.182, abs=1e-2)


def test_without_a_target_the_loss_is_0():
    held_out = HeldOut(MetricCollection({}), stage="val", perplexity=True)
    held_out.loss.update(torch.tensor(0.0), weight=torch.tensor(0))
    assert held_out.scalars() == {"val/loss": 0.0, "val/perplexity": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_not_left_out(value: float):
    held_out = HeldOut(MetricCollection({}), stage="val", perplexity=False)
    for loss in (2.0, value):
        held_out.loss.update(torch.tensor(loss), weight=torch.tensor(3))
    assert held_out.scalars()["val/loss"].item() == pytest.approx(value, nan_ok=True)


def test_the_loss_is_the_mean_over_targets_however_they_fall_into_batches():
    held_out = HeldOut(MetricCollection({}), stage="val", perplexity=False)
    for loss, targets in ((2.0, 1), (5.0, torch.tensor(2)), (7.0, 0)):
        held_out.loss.update(torch.tensor(loss), weight=targets)
    assert held_out.scalars() == {"val/loss": 4.0}
