from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule

from lightune.tasks.micro_batches import TargetMean


def trainer(*, accumulate: int, world_size: int = 1) -> Any:
    strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor * world_size)
    return SimpleNamespace(accumulate_grad_batches=accumulate, world_size=world_size, strategy=strategy)


class OneWeight(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))


@pytest.mark.parametrize("targets", [(1, 3), (8000, 7000), (0, 5), (0, 0)])
def test_a_step_has_the_mean_over_all_targets_and_its_sum_does_not_grow_with_them(targets: tuple[int, int]):
    """A float16 gradient of a sum over thousands of targets would overflow."""
    mean, module = TargetMean(), OneWeight()
    module._trainer = trainer(accumulate=2)
    means = (3.0, 5.0)
    for value, number in zip(means, targets, strict=True):
        mean.start_batch(trainer(accumulate=2))
        loss = mean.sum(module.weight * value, number)
        assert loss.item() <= 20 * value
        (loss / 2).backward()  # as Lightning does
    mean.scale_gradients(module)
    total = sum(value * number for value, number in zip(means, targets, strict=True))
    assert float(module.weight.grad) == pytest.approx(total / max(1, sum(targets)))


def test_the_only_batch_of_a_step_is_left_as_it_is():
    mean, module = TargetMean(), OneWeight()
    mean.start_batch(trainer(accumulate=1))
    mean.sum(module.weight * 3, 7).backward()
    mean.scale_gradients(module)
    assert float(module.weight.grad) == 3
