import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_reviews

from lightune.runs.checkpoint_io import read_checkpoint
from lightune.tasks import TextClassification
from lightune.training.callbacks import FailFast

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


def as_on_a_gpu(self: FailFast, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
    """The loss of a step is looked at after the next one."""
    self._check_loss(trainer)
    self._unchecked = (outputs["loss"].detach().flatten(), trainer.global_step, trainer.current_epoch, batch_idx)


def test_a_loss_that_is_not_looked_at_yet_is_looked_at_before_a_checkpoint_is_saved(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    seen = failing_at(4, monkeypatch, lambda loss: loss * float("nan"))
    monkeypatch.setattr(FailFast, "on_train_batch_end", as_on_a_gpu)
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *SMALL, "callbacks.last.every_minutes=0")
    assert "The loss was nan at step 4, epoch 1" in capsys.readouterr().err
    assert len(seen) == 4
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 3
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


def test_weights_that_a_finite_loss_has_spoilt_are_not_saved(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """The gradient of a square root at 0 is infinite."""
    failing_at(4, monkeypatch, lambda loss: loss + (loss - loss).sqrt())
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *SMALL, "callbacks.last.every_minutes=0")
    assert "Some weights are infinite or NaN after step 4." in capsys.readouterr().err
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 3


def test_all_devices_end_where_the_loss_of_one_is_not_finite(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    """Under SLURM nothing ends the processes that wait for one that has ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    slurm |= {"SLURM_NODELIST": "localhost", "SLURM_NODEID": "0", "MASTER_PORT": port}

    def rank(number: int) -> subprocess.CompletedProcess[str]:
        spoil = [f"+callbacks.spoil.{name}" for name in ("_target_=killer.Spoil", "step=3", "rank=1")]
        devices = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
        task = {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
        return start(tmp_path / "run", *devices, *spoil, **slurm, **task)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(rank, range(2)))
    assert [done.returncode for done in ended] == [1, 1], [done.stderr for done in ended]
    said = [next(line for line in done.stderr.splitlines() if "error: " in line) for done in ended]
    assert "error: The loss was nan at step 4, epoch 1" in said[0]
    assert said[0] == said[1], "both name the rows of the device whose loss it was"


def test_a_held_out_loss_of_nan_ends_the_run_and_is_never_the_best(
    train_here: Callable[..., dict[str, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """In masked LM, the loss itself chooses the best checkpoint."""
    from lightune.tasks import MaskedLM

    data = write_reviews(tmp_path / "reviews.csv", 120)
    loss = MaskedLM.loss

    def broken(self: Any, logits: torch.Tensor, batch: Any) -> Any:
        mean, targets = loss(self, logits, batch)
        is_broken = not torch.is_grad_enabled() and self.current_epoch == 1
        return (mean * float("nan") if is_broken else mean), targets

    monkeypatch.setattr(MaskedLM, "loss", broken)
    with pytest.raises(SystemExit) as stopped:
        train_here("task=masked_lm", "data=local", f"data.path={data}", *SMALL)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert f"val/loss is nan after step {2 * best['global_step']}." in said
    assert "Traceback" not in said and len(said.splitlines()) <= 5
    assert best["epoch"] == 0
    assert not (tmp_path / "run" / "metrics.json").exists()
