"""``last.ckpt``: from it a run goes on as if nothing had stopped it."""

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

log = logging.getLogger(__name__)

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
NOTHING_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class LastCheckpoint(Checkpoint):
    """Save after each validation, every few minutes between, and when the run is told to stop.

    SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 end the run at the next step with ``128 + signal`` as its exit code, everything
    saved; under SLURM, SIGUSR1 (``#SBATCH --signal=SIGUSR1@90``) asks for the job to be queued again as well.

    Only whole optimizer steps are saved: gradients of half a step would be lost. All devices save and stop at the same step.

    Args:
        path: of ``last.ckpt``.
        every_minutes: between two saves within an epoch; 0 saves at every step.
    """

    def __init__(self, *, path: str, every_minutes: float) -> None:
        self.path = Path(path)
        self.every_minutes = every_minutes
        self._asked = 0  # the number of the signal
        self._saved_at = 0.0
        self._validation_pending = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if trainer.global_step and trainer.is_global_zero:
            log.info(f"going on at step {trainer.global_step}, epoch {trainer.current_epoch}")
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:  # Lightning puts back at the end what it found at the start
                signal.signal(number, self._ask)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _end_at_once(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _end_at_once(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        if (
            loop._should_accumulate()
            or loop.batch_progress.is_last_batch
            or loop._should_check_val_fx(fetcher)
        ):
            return  # where validation comes next, its start is the moment
        self._save_or_stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _within_fit(trainer):
            self._save_or_stop(trainer, validation_pending=True)
        else:
            _end_at_once(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if _within_fit(trainer) and trainer.world_size == 1:  # several would have to agree at each batch
            self._save_or_stop(trainer, validation_pending=True, only_if_asked=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _within_fit(trainer):
            self._save_or_stop(trainer, due=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["should_stop"] = trainer.should_stop
        checkpoint["folder"] = str(self.path.parent)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        if self._validation_pending:
            # as Lightning itself marks a validation that was broken off: it is begun anew
            progress["total"] = dict(NOTHING_BEGUN)
            progress["current"] = dict.fromkeys(NOTHING_BEGUN, 0)
        else:  # the mark outlives a validation that was begun anew, which would then be run once more
            progress["total"] = dict.fromkeys(NOTHING_BEGUN, progress["total"]["completed"])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.should_stop = checkpoint.get("should_stop", False)
            # where the run's folder was moved, what Lightning knows of its checkpoints goes with it
            before, now = checkpoint.get("folder", ""), str(self.path.parent)
            checkpoint["callbacks"] = _moved(checkpoint["callbacks"], before, now)

    def _ask(self, number: int, _: Any) -> None:
        self._asked = number

    def _save_or_stop(
        self,
        trainer: Trainer,
        *,
        due: bool = False,
        validation_pending: bool = False,
        only_if_asked: bool = False,
    ) -> None:
        due = due or time.monotonic() - self._saved_at >= 60 * self.every_minutes
        asked = self._asked
        if trainer.world_size > 1:
            both = torch.tensor([int(due), asked], device=trainer.strategy.root_device)
            due, asked = trainer.strategy.reduce(both, reduce_op="max").tolist()
        if not asked and (only_if_asked or not due):
            return
        self._validation_pending = validation_pending
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._validation_pending = False
        self._saved_at = time.monotonic()
        if asked:
            self._stop(trainer, signal.Signals(asked))

    def _stop(self, trainer: Trainer, number: signal.Signals) -> None:
        if trainer.is_global_zero:
            log.warning(
                f"{number.name}: stopped at step {trainer.global_step}, all is saved. To go on: "
                f'lightune resume "{self.path.parent.parent}"'
            )
            job = os.environ.get("SLURM_JOB_ID")
            if number == signal.SIGUSR1 and job is not None:
                subprocess.run(["scontrol", "requeue", job], check=False)
        raise SystemExit(128 + number)


def _end_at_once(trainer: Trainer) -> None:
    """Let signals end the process where nothing is to be saved.

    Lightning's own handler tells the other devices, and waits for ever for one that is waiting for this one.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            signal.signal(number, _exit if trainer.world_size == 1 else signal.SIG_DFL)


def _exit(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def _moved(value: Any, before: str, now: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, before, now): _moved(each, before, now) for key, each in value.items()}
    if isinstance(value, str) and before and (value == before or value.startswith(before + os.sep)):
        return now + value[len(before) :]
    return value


def _within_fit(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
