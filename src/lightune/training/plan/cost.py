"""Estimate the cost of a run from the lengths of its rows and a few timed steps."""

import tempfile
import time
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import torch
from omegaconf import DictConfig

from lightune.data import DataModule
from lightune.data.batches.frozen_states import FrozenStates
from lightune.models.frozen_layers import FrozenLayers
from lightune.models.padding_free import skips_padding
from lightune.training.build_run import Parts, check_batches, make_trainer, reach_min_steps
from lightune.training.callbacks import CacheFrozenLayers, Throughput
from lightune.training.callbacks.cache_frozen_layers import SPLITS, states_file
from lightune.training.callbacks.throughput import peak_memory_bytes
from lightune.training.plan import dry_run, workload
from lightune.training.plan.timing import Timer, time_frozen_layers, total
from lightune.tuning.optimizer_and_schedule import num_training_steps

# Numbers of batches that are timed, from the shortest to the longest.
TRAIN_BATCHES, VALIDATION_BATCHES = 6, 4
MAX_PASSES = 12
MIN_SECONDS = 12.0
# A whole run on a CPU needs this much more memory than the timed steps: batches of many widths fragment the heap.
HEAP_GROWTH = 1.08
# Validation batches that Lightning tries before training.
SANITY_BATCHES = 2


def measure(config: dict[str, Any], *, started_at: float, is_quiet: bool) -> dict[str, float]:
    """Time a few steps of a run, and estimate the cost of the whole run; nothing is kept.

    Call this in a process of its own, which was started at ``started_at``: its peak memory is one of the figures.
    They have the names that ``metrics.json`` uses, where it has them. ``is_quiet`` leaves out warnings about the data.

    Raises:
        UserError: the run could not be trained either.
    """
    cfg, parts = dry_run.load(config, is_quiet=is_quiet)
    data, task = parts.data, parts.task
    trainer = make_trainer(cfg, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    check_batches(trainer, data)
    reach_min_steps(trainer, data)
    steps = num_training_steps(trainer, batches_per_epoch=data.batches_per_epoch)
    hidden_size = int(getattr(task.model.config, "hidden_size", 0) or 768)
    run = workload.of_run(data, trainer, hidden_size=hidden_size)
    epoch_sizes = [len(batches) for batches in run.epochs]
    # the last epoch may be cut
    num_epochs = sum(epoch_sizes) / epoch_sizes[0]
    validations = workload.num_validations(epoch_sizes, trainer)

    all_rows = copy(data)
    all_rows.datasets = dict(data.datasets)
    known = _choose_batches(data, run)
    timer = Timer(num_batches=len(known["train"]), min_seconds=MIN_SECONDS)
    setup_seconds = time.time() - started_at
    peak_bytes, saving_seconds, caching_times = _time_steps(cfg, parts, timer=timer, all_rows=all_rows)

    work, train, validation = run.work, known["train"], known["validation"]
    # the first timed validation batch is slow
    validation_times, evaluation_times = timer.validation[1:], timer.evaluation[1:]
    # a calibrated checkpoint is validated twice
    evaluated = np.concatenate([work["validation"]] * (1 + task.calibrate) + [work["test"]])
    costs = {
        "setup/seconds": setup_seconds,
        "frozen_once/seconds": total(work["train"][: epoch_sizes[0]], known=train, values=caching_times)
        + total(work["validation"], known=train, values=caching_times),
        "train/seconds": total(work["train"], known=train, values=timer.batches)
        + steps * timer.optimizer
        + timer.warmup,
        "validation/seconds": validations * total(work["validation"], known=validation, values=validation_times),
        "checkpoints/seconds": validations * 2 * saving_seconds,
        "evaluation/seconds": total(evaluated, known=validation, values=evaluation_times),
    }
    flops_known = train[sorted(timer.flops)]
    flops = total(work["train"], known=flops_known, values=[timer.flops[i] for i in sorted(timer.flops)])
    sanity_seconds = SANITY_BATCHES * float(np.median(validation_times)) if validation_times else 0.0
    return {
        "train/steps": steps,
        "train/epochs": num_epochs,
        "train/tokens": float(run.tokens) * trainer.world_size,
        "train/padding_efficiency": 1.0 if skips_padding(task.model) else run.tokens / run.computed_tokens,
        "train/peak_memory_bytes": peak_bytes,
        "train/flops": flops * trainer.world_size,
        "epoch/seconds": costs["train/seconds"] / num_epochs,
        **costs,
        "run/seconds": sum(costs.values()) + sanity_seconds,
        "mean_frozen_share": task.mean_frozen_share(),
        **task.num_parameters(),
    }


def _choose_batches(data: DataModule, run: workload.Workload) -> dict[str, np.ndarray]:
    """Let ``data`` go through a few batches of train and validation only; return the work of each by split."""
    first_epoch = run.epochs[0]
    train = workload.spread(run.work["train"][: len(first_epoch)], TRAIN_BATCHES)
    data.restrict_to("train", [first_epoch[index] for index in train] * MAX_PASSES)
    if validation := workload.spread(run.work["validation"], VALIDATION_BATCHES):
        # the first batch is slow, so it runs twice
        rows = run.held_out["validation"]
        data.restrict_to("validation", [rows[index] for index in validation[:1] + validation])
    return {"train": run.work["train"][train], "validation": run.work["validation"][validation]}


def _time_steps(cfg: DictConfig, parts: Parts, *, timer: Timer, all_rows: DataModule) -> tuple[int, float, list[float]]:
    """Run the chosen batches.

    Returns:
        The peak memory of the whole run in bytes, the seconds of saving a checkpoint, and those of the frozen layers for
        each timed batch where training is to cache their output.
    """
    data, task = parts.data, parts.task
    # Throughput is a part of each step
    callbacks = [*dry_run.callbacks(cfg), Throughput(), timer]
    trainer = dry_run.trainer(
        cfg, callbacks=callbacks, limit_val_batches=1.0 if "validation" in data.restricted else 0, log_every_n_steps=10
    )
    bytes_before = psutil.Process().memory_info().rss
    cache = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        trainer.fit(task, data)
        peak_bytes = peak_memory_bytes()
        if trainer.strategy.root_device.type == "cpu":
            peak_bytes = int(bytes_before + HEAP_GROWTH * max(0, peak_bytes - bytes_before))
        start = time.perf_counter()
        trainer.save_checkpoint(Path(folder) / "one.ckpt")
        saving_seconds = time.perf_counter() - start
    datasets.config.HF_DATASETS_CACHE = cache
    is_caching = any(isinstance(one, CacheFrozenLayers) and one.is_active for one in callbacks)
    frozen_layers = FrozenLayers.of(task.model) if is_caching else None
    if frozen_layers is None:
        timer.evaluation = timer.validation
        return peak_bytes, saving_seconds, []
    # the final evaluation uses the whole model
    trainer.validate(task, data, verbose=False)
    files = [states_file(trainer, task, all_rows, split, frozen_layers=frozen_layers)[0] for split in SPLITS]
    peak_bytes += mapped_bytes(files, trainer.strategy.root_device)
    if all(file.path.exists() for file in files):
        return peak_bytes, saving_seconds, []
    batches = islice(data.train_dataloader(), timer.num_batches)
    return peak_bytes, saving_seconds, time_frozen_layers(trainer, task, batches, frozen_layers)


def mapped_bytes(files: list[FrozenStates], device: torch.device) -> int:
    """Return the memory of a device that cached states fill: they are mapped into a CPU's row by row, not into a GPU's."""
    return sum(file.num_bytes for file in files) if device.type == "cpu" else 0
