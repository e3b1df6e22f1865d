"""How large a batch fits into memory, by steps on the longest rows of the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CPU_SHARE = (
    0.6  # of what is free: memory grows by a third over a long run, and none may be left to be killed for
)
GPU_SHARE = 0.95
MOST = 8192  # rows
CGROUP = Path("/sys/fs/cgroup")


class Trial(NamedTuple):
    """A batch size that was tried, or told from smaller ones.

    Attributes:
        rows: of a batch.
        memory_bytes: at its peak; None where memory ran out.
        fits: whether that is within the limit.
        measured: whether a step was made; else it is what smaller batches let expect.
    """

    rows: int
    memory_bytes: int | None
    fits: bool
    measured: bool


def find(config: dict[str, Any], limit_bytes: int | None = None) -> dict[str, Any]:
    """Find the most rows whose steps fit, forward, backward and optimizer, where all rows are as long as the longest.

    To be called in a process of its own, for a CPU's memory is measured as all that the process has ever held.

    Args:
        config: resolved.
        limit_bytes: of the process; None: most of what is free.

    Raises:
        UserError: not one row fits.
    """
    import numpy as np
    import torch

    from lightune.common.errors import UserError
    from lightune.training.callbacks import CacheFrozenLayers, FailFast
    from lightune.training.callbacks.throughput import peak_memory_bytes
    from lightune.training.plan import setup, workload

    # with one step, all that ever thaws has thawed in the second
    cfg, (_, data, task) = setup.load(config, num_steps=1)
    on_gpu = setup.trainer(cfg).strategy.root_device.type == "cuda"
    limit = limit_bytes or free_bytes(on_gpu=on_gpu)
    order = np.argsort(data.lengths("train"), kind="stable")[::-1]
    longest = int(workload.batches(data, "train", [order[:1].tolist()], few_widths=not on_gpu).columns[0])
    whole, most = data.datasets["train"], min(MOST, len(order))

    def step(rows: int) -> int | None:
        data.datasets["train"] = whole
        data.restrict_to(
            "train", [order[:rows].tolist()] * 4
        )  # two steps of two micro-batches: all that a step may hold
        made = setup.callbacks(cfg, without=(CacheFrozenLayers, FailFast))
        trainer = setup.trainer(cfg, callbacks=made, accumulate_grad_batches=2)
        try:
            trainer.fit(task, data)
            return torch.cuda.max_memory_reserved() if on_gpu else peak_memory_bytes()
        except torch.OutOfMemoryError:
            return None
        finally:
            task.zero_grad()
            if on_gpu:
                trainer.strategy.optimizers = []
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

    trials = search(step, limit=limit, most=most, careful=not on_gpu)
    largest = max((trial.rows for trial in trials if trial.fits), default=0)
    if not largest:
        raise UserError(
            f"Not one row of {longest} tokens fits into {limit / 1e9:.2f} GB.\n"
            "Lower data.max_length, or train less: tuning=lora, tuning=frozen; trainer.precision=bf16-mixed needs less too."
        )
    return {
        "largest": largest,
        "longest": longest,
        "limit_bytes": limit,
        "most": most,
        "effective": data.batch_size * cfg.trainer.accumulate_grad_batches,
        "by_tokens": data.max_tokens_per_batch is not None,
        "tokens": data.max_tokens_per_batch,
        "accumulate": cfg.trainer.accumulate_grad_batches,
        "trials": [trial._asdict() for trial in trials],
    }


def search(step: Callable[[int], int | None], *, limit: int, most: int, careful: bool) -> list[Trial]:
    """Double the rows while they fit, then halve the distance to what does not, to an eighth.

    Args:
        step: makes steps of so many rows; returns the bytes at their peak, None where memory ran out.
        limit: bytes.
        most: rows.
        careful: do not try what is expected to exceed the limit: who runs out of memory there is killed.
    """
    trials: list[Trial] = []
    fits, fails, rows = 0, most + 1, 1

    while fits < rows < fails:
        expected = _expected(trials, rows) if careful else None
        if expected is not None and expected > limit:
            trials.append(Trial(rows, expected, fits=False, measured=False))
        else:
            memory = step(rows)
            trials.append(Trial(rows, memory, fits=memory is not None and memory <= limit, measured=True))
        if trials[-1].fits:
            fits = rows
        else:
            fails = rows
        doubled = min(2 * fits, most)
        rows = doubled if fails > most else (fits + fails) // 2
        if fails <= most and fails - fits <= max(1, fits // 8):
            break
    return trials


def overrides(found: dict[str, Any]) -> list[str]:
    """Return the options that use what fits; the rows or tokens of an optimizer step stay as many."""
    asked = found["tokens"] if found["by_tokens"] else found["effective"] // found["accumulate"]
    fits = found["largest"] * (found["longest"] if found["by_tokens"] else 1)
    effective = asked * found["accumulate"]
    size = max(one for one in range(1, min(fits, effective) + 1) if effective % one == 0)
    option = "data.max_tokens_per_batch" if found["by_tokens"] else "data.batch_size"
    return [f"{option}={size}", f"trainer.accumulate_grad_batches={effective // size}"]


def free_bytes(*, on_gpu: bool) -> int:
    """Return how large this process may become: a share of what it holds and of what is free, in its container too."""
    import psutil
    import torch

    if on_gpu:
        free, _ = torch.cuda.mem_get_info()
        return int(GPU_SHARE * (free + torch.cuda.memory_reserved()))
    held: int = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        if limit != "max":  # files that are cached make room
            free = min(free, int(limit) - int(dict(line.split() for line in lines)["anon"]))
    except (OSError, ValueError, KeyError):  # no control groups of version 2
        pass
    return held + int(CPU_SHARE * max(0, free))


def _expected(trials: list[Trial], rows: int) -> int | None:
    """Return what the largest two that were measured let expect of more rows."""
    known = sorted(
        (trial.rows, trial.memory_bytes)
        for trial in trials
        if trial.memory_bytes is not None and trial.measured
    )
    if len(known) < 2:
        return None
    (fewer, less), (more, much) = known[-2:]
    return int(much + max(0, much - less) / (more - fewer) * (rows - more))
