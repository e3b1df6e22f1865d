"""Find the largest batch size that fits into memory, by steps on the longest rows of the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from lightune.common.errors import UserError
from lightune.training.callbacks import CacheFrozenLayers, FailFast
from lightune.training.callbacks.throughput import peak_memory_bytes
from lightune.training.plan import dry_run, workload

# Shares of the free memory. A CPU's memory grows by a third over a long run, and a process that takes all of it is killed.
CPU_SHARE, GPU_SHARE = 0.6, 0.95
MAX_ROWS = 8192
CGROUP = Path("/sys/fs/cgroup")


class Attempt(NamedTuple):
    """A number of rows that was tried, or else (not ``measured``) whose memory was estimated from smaller batches.

    ``memory_bytes`` is the peak, None where memory ran out.
    """

    rows: int
    memory_bytes: int | None
    fits: bool
    measured: bool


def find(config: dict[str, Any], limit_bytes: int | None = None) -> dict[str, Any]:
    """Find the largest number of rows whose steps (forward, backward, optimizer) fit when all rows are the longest.

    Call this in a process of its own: the memory of a CPU is measured as the peak of the process. Its limit is
    ``limit_bytes``; None: most of the free memory.

    Raises:
        UserError: not one row fits.
    """
    cfg, (_, data, task) = dry_run.load(config)
    task.thaw()
    on_gpu = dry_run.trainer(cfg).strategy.root_device.type == "cuda"
    limit = limit_bytes or free_bytes(on_gpu=on_gpu)
    order = np.argsort(data.lengths("train"), kind="stable")[::-1]
    longest = int(workload.computed_tokens(data, [order[:1].tolist()], few_widths=not on_gpu)[0])
    held_out = np.argsort(data.lengths("validation"), kind="stable")[::-1]
    all_rows, max_rows = dict(data.datasets), min(MAX_ROWS, len(order))

    def step(rows: int) -> int | None:
        data.datasets |= all_rows
        # two steps of two micro-batches hold as much as any later step
        data.restrict_to("train", [order[:rows].tolist()] * 4)
        # a validation may hold more: texts are generated, and logits of all tokens kept
        data.restrict_to("validation", [np.resize(held_out, rows).tolist()])
        callbacks = dry_run.callbacks(cfg, exclude=(CacheFrozenLayers, FailFast))
        validates = float(cfg.trainer.limit_val_batches > 0)
        trainer = dry_run.trainer(cfg, callbacks=callbacks, accumulate_grad_batches=2, limit_val_batches=validates)
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

    attempts = search(step, limit=limit, max_rows=max_rows, is_careful=not on_gpu)
    largest = max((attempt.rows for attempt in attempts if attempt.fits), default=0)
    if not largest:
        raise UserError(
            f"Not one row of {longest} tokens fits into {limit / 1e9:.2f} GB.\n"
            "Lower data.max_length, or train fewer weights: tuning=lora, tuning=frozen; trainer.precision=bf16-mixed needs less too."
        )
    return {
        "largest": largest,
        "longest": longest,
        "limit_bytes": limit,
        "most": max_rows,
        "effective": data.batch_size * cfg.trainer.accumulate_grad_batches,
        "by_tokens": data.max_tokens_per_batch is not None,
        "tokens": data.max_tokens_per_batch,
        "accumulate": cfg.trainer.accumulate_grad_batches,
        "trials": [attempt._asdict() for attempt in attempts],
    }


def search(step: Callable[[int], int | None], *, limit: int, max_rows: int, is_careful: bool) -> list[Attempt]:
    """Double the rows while they fit, then halve the distance to the smallest size that does not, down to an eighth.

    ``step`` makes steps of so many rows, and returns their peak memory in bytes, None where memory ran out. Where
    ``is_careful``, a size that is expected to exceed the limit in bytes is not tried: the process would be killed.
    """
    attempts: list[Attempt] = []
    fits, fails, rows = 0, max_rows + 1, 1

    while fits < rows < fails:
        expected = _expected_bytes(attempts, rows) if is_careful else None
        if expected is not None and expected > limit:
            attempts.append(Attempt(rows, expected, fits=False, measured=False))
        else:
            peak = step(rows)
            attempts.append(Attempt(rows, peak, fits=peak is not None and peak <= limit, measured=True))
        if attempts[-1].fits:
            fits = rows
        else:
            fails = rows
        doubled = min(2 * fits, max_rows)
        rows = doubled if fails > max_rows else (fits + fails) // 2
        if fails <= max_rows and fails - fits <= max(1, fits // 8):
            break
    return attempts


def free_bytes(*, on_gpu: bool) -> int:
    """Return how large this process may become: its own memory and a share of the free memory, also of its container."""
    if on_gpu:
        free, _ = torch.cuda.mem_get_info()
        return int(GPU_SHARE * (free + torch.cuda.memory_reserved()))
    own: int = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        if limit != "max":
            # cached files make room, so only anonymous memory counts as used
            free = min(free, int(limit) - int(dict(line.split() for line in lines)["anon"]))
    except (OSError, ValueError, KeyError):
        # no control groups of version 2
        pass
    return own + int(CPU_SHARE * max(0, free))


def _expected_bytes(attempts: list[Attempt], rows: int) -> int | None:
    """Extrapolate the memory of more rows from the largest two measured sizes."""
    known = sorted((one.rows, one.memory_bytes) for one in attempts if one.memory_bytes and one.measured)
    if len(known) < 2:
        return None
    (fewer_rows, fewer_bytes), (more_rows, more_bytes) = known[-2:]
    slope = max(0, more_bytes - fewer_bytes) / (more_rows - fewer_rows)
    return int(more_bytes + slope * (rows - more_rows))
