"""``last.ckpt``: the checkpoint that a stopped run resumes from, exactly where it was."""

import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from lightune.common.trainer_state import completes_step, is_fitting, validation_follows

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# How Lightning's checkpoints mark a validation that was interrupted and is to be repeated.
INTERRUPTED = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class LastCheckpoint(Checkpoint):
    """Save after each validation, every few minutes in between, and when a signal stops the run.

    SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save and end the run at the next step, with exit code ``128 + signal``. Under
    SLURM, SIGUSR1 (``#SBATCH --signal=SIGUSR1@90``) also requeues the job.

    Checkpoints are saved between optimizer steps only, since gradients of half a step would be lost. All devices save and
    stop at the same step.

    Args:
        path: of ``last.ckpt``.
        every_minutes: minutes between two checkpoints within an epoch; 0 saves at every step.
    """

    def __init__(self, *, path: str, every_minutes: float) -> None:
        self.path = Path(path)
        self.every_minutes = every_minutes
        # number of the signal that arrived, 0 for none
        self._signal = 0
        self._saved_at = 0.0
        self._validation_pending = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if trainer.global_step and trainer.is_global_zero:
            log.info(f"resuming at step {trainer.global_step}, epoch {trainer.current_epoch}")
        if threading.current_thread() is threading.main_thread():
            # Lightning restores the former handlers at the end of the fit
            for number in STOP_SIGNALS:
                signal.signal(number, self._note_signal)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _exit_on_signals(trainer)

    on_test_start = on_sanity_check_start

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        # before a validation, on_validation_start saves
        if completes_step(trainer) and not validation_follows(trainer):
            self._save_if_due(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer):
            self._save_if_due(trainer, validation_pending=True)
        else:
            _exit_on_signals(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        # several devices would have to communicate after each batch
        if is_fitting(trainer) and trainer.world_size == 1 and self._signal:
            self._save_if_due(trainer, validation_pending=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer):
            self._save_if_due(trainer, is_due=True)

    def on_save_checkpoint(self, trainer: Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["should_stop"] = trainer.should_stop
        checkpoint["folder"] = str(self.path.parent)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        if self._validation_pending:
            progress["total"] = dict(INTERRUPTED)
            progress["current"] = dict.fromkeys(INTERRUPTED, 0)
        else:
            # Lightning keeps the mark after the validation was repeated, and would repeat it once more
            progress["total"] = dict.fromkeys(INTERRUPTED, progress["total"]["completed"])

    def on_load_checkpoint(self, trainer: Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.should_stop = checkpoint.get("should_stop", False)
            # a run folder may have been moved: Lightning stores the paths of its checkpoints
            old, new = checkpoint.get("folder", ""), str(self.path.parent)
            checkpoint["callbacks"] = _move_paths(checkpoint["callbacks"], old, new)

    def _note_signal(self, number: int, _: Any) -> None:
        self._signal = number

    def _save_if_due(self, trainer: Trainer, *, is_due: bool = False, validation_pending: bool = False) -> None:
        is_due = is_due or time.monotonic() - self._saved_at >= 60 * self.every_minutes
        number = self._signal
        if trainer.world_size > 1:
            both = torch.tensor([int(is_due), number], device=trainer.strategy.root_device)
            is_due, number = trainer.strategy.reduce(both, reduce_op="max").tolist()
        if not number and not is_due:
            return
        self._validation_pending = validation_pending
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._validation_pending = False
        self._saved_at = time.monotonic()
        if number:
            self._stop(trainer, signal.Signals(number))

    def _stop(self, trainer: Trainer, number: signal.Signals) -> None:
        if trainer.is_global_zero:
            log.warning(
                f"{number.name}: stopped at step {trainer.global_step}, everything is saved. To resume: "
                f'lightune resume "{self.path.parent.parent}"'
            )
            job = os.environ.get("SLURM_JOB_ID")
            if number == signal.SIGUSR1 and job is not None:
                subprocess.run(["scontrol", "requeue", job], check=False)
        raise SystemExit(128 + number)


def _exit_on_signals(trainer: Trainer) -> None:
    """Let signals end the process while there is nothing to save.

    Lightning's own handler notifies the other devices, and would wait forever for one that waits for this device.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, _exit if trainer.world_size == 1 else signal.SIG_DFL)


def _exit(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def _move_paths(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {_move_paths(key, old, new): _move_paths(item, old, new) for key, item in value.items()}
    if isinstance(value, str) and old and (value == old or value.startswith(old + os.sep)):
        return new + value[len(old) :]
    return value
