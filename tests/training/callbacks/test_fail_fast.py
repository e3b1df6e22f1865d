from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightune.tasks import TextClassification

SMALL = ["data.batch_size=8", "trainer.max_epochs=3"]


def failing_at(step: int, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Any], Any]) -> list[list[int]]:
    """Break a training step; return the labels of each batch."""
    seen: list[list[int]] = []
    training_step = TextClassification.training_step

    def broken(self: Any, batch: Any, batch_idx: int) -> Any:
        seen.append(batch["labels"].tolist())
        loss = training_step(self, batch, batch_idx)
        return fail(loss) if len(seen) == step else loss

    monkeypatch.setattr(TextClassification, "training_step", broken)
    return seen


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_best_checkpoint(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: float,
):
    arguments = ["data=local", f"data.path={reviews}", *SMALL]
    train_here(*arguments, "trainer.max_epochs=1")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    steps_an_epoch = torch.load(best, weights_only=True)["global_step"]
    seen = failing_at(steps_an_epoch + 2, monkeypatch, lambda loss: loss * value)
    with pytest.raises(SystemExit) as stopped:
        train_here(*arguments)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert f"The loss was {value} at step {steps_an_epoch + 2}, epoch 2, learning rate" in said
    assert "Training rows: " in said
    assert len(seen) == steps_an_epoch + 2, "training stopped at once"
    state = torch.load(best, weights_only=True)
    assert state["global_step"] == steps_an_epoch
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values() if tensor.is_floating_point())


def test_the_message_names_the_rows_of_the_batch(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from lightune.data import DataModule

    seen = failing_at(3, monkeypatch, lambda loss: loss * float("nan"))
    found: list[list[int]] = []
    rows_of_batch = DataModule.rows_of_batch

    def labels_of(self: DataModule, batch_idx: int, *, epoch: int) -> list[int]:
        rows = rows_of_batch(self, batch_idx, epoch=epoch)
        found.append([self.datasets["train"][row]["labels"] for row in rows])
        return rows

    monkeypatch.setattr(DataModule, "rows_of_batch", labels_of)
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *SMALL)
    assert found == [seen[2]]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("DefaultCPUAllocator: not enough memory")],
)
def test_an_out_of_memory_error_says_what_to_lower(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
):
    def fail(_: Any) -> Any:
        raise error

    failing_at(2, monkeypatch, fail)
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *SMALL)
    said = capsys.readouterr().err
    assert "Memory ran out near step 2, in a batch of 8 rows of" in said
    assert "data.batch_size" in said
    assert "Traceback" not in said
