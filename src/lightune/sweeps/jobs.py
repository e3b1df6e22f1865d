"""Jobs of a sweep in processes of their own, as launchers start them: what they get of a machine, and how they end."""

import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.config import credentials


def run(job: Callable[[Any], float], cfg: Any, *, parent: int | None) -> float:
    """Run a job in a process that a launcher has started.

    What ends it is said here, and raised for the process that sweeps as an error that can be pickled: the other jobs
    go on, as after an exception in Hydra's own launcher. A signal ends this process with its job.

    Args:
        job: what Hydra was to call.
        cfg: with what.
        parent: process on this machine with which this one ends; None: a scheduler decides.

    Returns:
        What the job returns.

    Raises:
        UserError: the job has failed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it
    if parent is not None:
        os.environ[processes.PARENT_PROCESS] = str(parent)
    try:
        return job(cfg)
    except (SystemExit, KeyboardInterrupt) as stopped:
        if isinstance(stopped.__cause__, UserError):
            raise stopped.__cause__ from None
        code = stopped.code if isinstance(stopped, SystemExit) else 128 + signal.SIGINT
        if isinstance(code, int) and code > 128:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # else the next job would begin here
        raise UserError(f"A process of this job ended with {code}. It has said why.") from None
    except Exception as error:
        sys.stderr.write(credentials.redact(traceback.format_exc()))
        said = credentials.redact(next(iter(str(error).splitlines()), ""))[:300]
        raise UserError(
            f"{type(error).__name__}: {said}\nIts traceback is in what this job has printed."
        ) from None


def run_in_share(
    job: Callable[[Any], float], cfg: Any, *, parent: int, slots: str, n_jobs: int, gpus: list[str]
) -> float:
    """Run a job of several at once on this machine, on GPUs that no other of them has.

    Args:
        job: what Hydra was to call.
        cfg: with what.
        parent: process that sweeps.
        slots: folder of the locks by which the processes choose their shares.
        n_jobs: that run at once.
        gpus: of this machine, as ``CUDA_VISIBLE_DEVICES`` names them.

    Returns:
        What the job returns.

    Raises:
        UserError: the job has failed.
    """
    if gpus:
        slot = claim_slot(slots, n_jobs)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share(gpus, slot=slot, n_jobs=n_jobs))
    os.environ["TERM"] = "dumb"  # several progress bars in one terminal write over each other
    return run(job, cfg, parent=parent)


def share(gpus: list[str], *, slot: int, n_jobs: int) -> list[str]:
    """Return one process' GPUs: an equal share, or one with others where there are more processes than GPUs."""
    return gpus[slot::n_jobs][: len(gpus) // n_jobs] or [gpus[slot % len(gpus)]]


@functools.cache
def claim_slot(folder: str, count: int) -> int:
    """Return a number below ``count`` that no other process has; this one keeps it until it ends, as CUDA keeps its GPU."""
    while True:
        for slot in range(count):
            lock = FileLock(Path(folder) / f"{slot}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            KEPT.append(lock)
            return slot
        time.sleep(0.1)


KEPT: list[FileLock] = []
"""Locks, which a collected object would give back."""


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine that may be used, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM, Ctrl-C and SIGHUP end this process with ``128 + signal``, after it has ended others.

    Args:
        end: ends the others.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        end()
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in processes.HANDLED_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
