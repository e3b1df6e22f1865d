from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from lightune.training.callbacks import EpochLog


def test_a_validation_is_logged_in_one_line(caplog: pytest.LogCaptureFixture):
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        is_global_zero=True,
        current_epoch=0,
        global_step=7,
        callback_metrics={"train/loss": torch.tensor(0.5), "val/loss": torch.tensor(0.25), "val/f1": torch.tensor(0.9)},
    )
    with caplog.at_level("INFO"):
        EpochLog().on_validation_end(trainer, SimpleNamespace(monitor=("val/f1", "max")))
    assert caplog.messages == ["epoch 1, step 7: train/loss 0.5, val/loss 0.25, val/f1 0.9"]
