"""What a run would cost, from the data's real lengths and a few timed steps."""

import tempfile
import time
from copy import copy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import torch
from lightning import Callback, LightningModule, Trainer

from lightune.data.batches.frozen_states import STATES
from lightune.models.frozen_layers import FrozenLayers
from lightune.tasks.batch import inputs
from lightune.training.build import make_trainer
from lightune.training.callbacks import Throughput
from lightune.training.callbacks.cache_frozen_layers import SPLITS, states_file
from lightune.training.callbacks.throughput import peak_memory_bytes
from lightune.training.plan import setup, workload
from lightune.training.plan.timing import Timer, interpolated, undisturbed
from lightune.tuning.optimizer import num_training_steps

TIMED, HELD_OUT = 6, 4  # batches, from the shortest to the longest
MOST_PASSES = 12
ENOUGH_SECONDS = 12.0
HEAP_GROWS = 1.35
"""How much more of a CPU's memory than in the timed steps training holds in the end: batches of many widths leave holes."""

SANITY = 2  # validation batches that Lightning tries before training


def measure(config: dict[str, Any], *, asked_at: float, quietly: bool) -> dict[str, float]:
    """Time a few steps of a run, and say what all of it would take; nothing is kept.

    To be called in a process of its own: its peak memory is one of the figures.

    Args:
        config: resolved.
        asked_at: by ``time.time()``, when the process was started.
        quietly: say nothing of the data.

    Returns:
        Figures by the names of ``metrics.json`` where they are there too.

    Raises:
        UserError: the run could not be trained either.
    """
    cfg, (_, data, task) = setup.load(config, quietly=quietly)
    real = make_trainer(cfg, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    few_widths = real.strategy.root_device.type == "cpu"
    epochs = list(workload.training_rows(data, real))
    steps = num_training_steps(real, batches_per_epoch=data.batches_per_epoch)
    per_epoch = [len(rows) for rows in epochs]
    run = workload.batches(data, "train", [rows for epoch in epochs for rows in epoch], few_widths=few_widths)
    held_out: dict[str, tuple[list[list[int]], workload.Batches | None]] = {}
    for split, limit in (("validation", real.limit_val_batches), ("test", real.limit_test_batches)):
        rows = data.held_out_batches(split, rank=0, world_size=real.world_size)
        rows = rows[: workload.limited(len(rows), limit)]
        held_out[split] = (
            rows,
            workload.batches(data, split, rows, few_widths=few_widths, is_whole=False) if rows else None,
        )

    size = int(getattr(task.model.config, "hidden_size", 0) or 768)
    work = run.work(hidden_size=size)
    chosen = workload.spread(work[: per_epoch[0]], TIMED)
    whole = copy(data)
    whole.datasets = dict(data.datasets)
    data.choose("train", [epochs[0][index] for index in chosen] * MOST_PASSES)
    known_held_out: Any = None
    rows, known = held_out["validation"]
    if known is not None:
        some = workload.spread(known.work(hidden_size=size), HELD_OUT)
        data.choose(
            "validation", [rows[index] for index in some[:1] + some]
        )  # the first is slow: it goes twice
        known_held_out = known.work(hidden_size=size)[some]

    timer = Timer(num_batches=len(chosen), enough_seconds=ENOUGH_SECONDS)
    once = Once(whole, chosen=len(chosen))
    # FrozenOnce comes first and finds what is frozen, then these: Throughput has its part in a step's time
    made = [*setup.callbacks(cfg), Throughput(), timer, once]
    trainer = setup.trainer(
        cfg, callbacks=made, limit_val_batches=1.0 if known is not None else 0, log_every_n_steps=10
    )
    setup_seconds = time.time() - asked_at
    held = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE, once.cache = Path(folder), datasets.config.HF_DATASETS_CACHE
        trainer.fit(task, data)
        peak = peak_memory_bytes()
        if few_widths:
            peak = int(held + HEAP_GROWS * max(0, peak - held))
        validating = timer.validation[1:]
        if once.is_used:  # the best checkpoint is measured by the whole model
            timer.validation = []
            trainer.validate(task, data, verbose=False)
        testing = timer.validation[1:]
        begun = time.perf_counter()
        trainer.save_checkpoint(Path(folder) / "one.ckpt")
        saving = time.perf_counter() - begun

    known_work = work[chosen]
    seconds = interpolated(work, known=known_work, seconds=timer.batches)
    ends = [known_work[number] for number in sorted(timer.flops)]
    counted = np.array([timer.flops[number] for number in sorted(timer.flops)], dtype=float)
    flops = float(interpolated(work, known=np.array(ends), seconds=counted).sum())
    once_seconds = (
        0.0 if once.is_kept else once.seconds(held_out["validation"], run, per_epoch[0], size, known_work)
    )
    train_seconds = float(seconds.sum()) + steps * timer.optimizer + timer.extra

    def evaluating(split: str, times: list[float]) -> float:
        batches = held_out[split][1]
        if batches is None or known_held_out is None:
            return 0.0
        work = batches.work(hidden_size=size)
        return float(interpolated(work, known=known_held_out, seconds=np.array(times)).sum())

    validations = workload.num_validations(per_epoch, real)
    validation_seconds = evaluating("validation", validating)
    final_seconds = evaluating("validation", testing) + evaluating("test", testing)
    length = sum(per_epoch) / per_epoch[0]  # in epochs, the last may be cut
    devices = real.world_size
    return {
        "train/steps": steps,
        "train/epochs": length,
        "train/tokens": float(run.tokens.sum()) * devices,
        "train/padding_efficiency": float(run.tokens.sum() / run.computed_tokens.sum()),
        "train/seconds": train_seconds,
        "train/peak_memory_bytes": peak + once.num_bytes,
        "train/flops": flops * devices,
        "epoch/seconds": train_seconds / length,
        "frozen_once/seconds": once_seconds,
        "validation/seconds": validations * validation_seconds,
        "checkpoints/seconds": validations * 2 * saving,
        "evaluation/seconds": final_seconds,
        "setup/seconds": setup_seconds,
        "run/seconds": setup_seconds
        + once_seconds
        + train_seconds
        + validations * (validation_seconds + 2 * saving)
        + SANITY * float(np.median(validating) if validating else 0.0)
        + final_seconds,
        "share_unthawed": task.share_unthawed(),
        **task.num_parameters(),
    }


class Once(Callback):
    """Time the frozen lowest layers alone, where their output is kept (:class:`lightune.training.callbacks.CacheFrozenLayers`).

    Args:
        whole: the data with all its rows.
        chosen: batches of a pass.
    """

    def __init__(self, whole: Any, *, chosen: int) -> None:
        self.whole = whole
        self.chosen = chosen
        self.cache: Any = None
        self.is_used = False
        self.is_kept = False
        self.num_bytes = 0
        self.times: list[list[float]] = [[] for _ in range(chosen)]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        trunk = FrozenLayers.of(task.model)
        if trunk is None or not data.frozen_states:
            return
        self.is_used = True
        temporary, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, self.cache
        width = task.model.config.hidden_size
        files = [
            states_file(self.whole, split, trunk=trunk, precision=str(trainer.precision), width=width)[0]
            for split in SPLITS
        ]
        datasets.config.HF_DATASETS_CACHE = temporary
        self.is_kept = all(file.path.exists() for file in files)
        self.num_bytes = sum(file.num_bytes for file in files)  # mapped into memory, row by row
        batches = [batch for batch, _ in zip(data.train_dataloader(), range(self.chosen), strict=False)]
        batches = [trainer.strategy.batch_to_device(batch) for batch in batches]
        for batch in batches:
            batch.pop(STATES)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for again in range(4):
                for number, batch in enumerate(batches):
                    begun = time.perf_counter()
                    trunk.states(task.model, inputs(batch))
                    if again:
                        self.times[number].append(time.perf_counter() - begun)

    def seconds(self, validation: Any, run: Any, batches: int, hidden_size: int, known: np.ndarray) -> float:
        """Return what the layers take for all rows of train and validation."""
        if not self.is_used:
            return 0.0
        works = [run.work(hidden_size=hidden_size)[:batches], validation[1].work(hidden_size=hidden_size)]
        times = np.array([undisturbed(several) for several in self.times])
        return sum(float(interpolated(work, known=known, seconds=times).sum()) for work in works)
