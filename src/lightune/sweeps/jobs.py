"""Run the jobs of a sweep in processes of their own, as launchers start them."""

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
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.config import credentials

# Locks that this process holds; a collected lock would be released.
SLOT_LOCKS: list[FileLock] = []


class GPUs(NamedTuple):
    """GPUs of this machine, named as in ``CUDA_VISIBLE_DEVICES``, that simultaneous jobs share.

    ``slots`` is the folder of the locks by which the jobs' processes choose their shares.
    """

    names: list[str]
    n_jobs: int
    slots: str


def run_job(job: Callable[[Any], float], cfg: Any, *, parent: int | None, gpus: GPUs | None = None) -> float:
    """Run a job in a process that a launcher has started.

    A failure is printed here, and raised for the sweeping process as an error that can be pickled, so that the other jobs
    continue as they do in Hydra's own launcher. A signal ends this process together with its job.

    Args:
        job: Hydra's task function.
        cfg: its argument.
        parent: process on this machine whose end ends this process; None: a scheduler decides.
        gpus: shared with simultaneous jobs on this machine; None: the job runs on its own.

    Raises:
        UserError: the job failed.
    """
    # submitit ignores SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if parent is not None:
        os.environ[processes.PARENT_PROCESS] = str(parent)
    if gpus is not None:
        # several progress bars in one terminal overwrite each other
        os.environ["TERM"] = "dumb"
        if gpus.names:
            slot = claim_slot(gpus.slots, gpus.n_jobs)
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpu_share(gpus.names, slot=slot, n_jobs=gpus.n_jobs))
    try:
        return job(cfg)
    except (SystemExit, KeyboardInterrupt) as stopped:
        if isinstance(stopped.__cause__, UserError):
            raise stopped.__cause__ from None
        code = stopped.code if isinstance(stopped, SystemExit) else 128 + signal.SIGINT
        if isinstance(code, int) and code > 128:
            # without os._exit this process would start its next job
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        raise UserError(f"A process of this job ended with {code}. Its output says why.") from None
    except Exception as error:
        sys.stderr.write(credentials.redact(traceback.format_exc()))
        message = credentials.redact(next(iter(str(error).splitlines()), ""))[:300]
        raise UserError(f"{type(error).__name__}: {message}\nThe traceback is in the output of this job.") from None


def gpu_share(gpus: list[str], *, slot: int, n_jobs: int) -> list[str]:
    """Return the GPUs of one process: an equal share, or a shared one where there are more processes than GPUs."""
    return gpus[slot::n_jobs][: len(gpus) // n_jobs] or [gpus[slot % len(gpus)]]


@functools.cache
def claim_slot(folder: str, count: int) -> int:
    """Return a number below ``count`` that no other process has. This process keeps it until it ends, as CUDA keeps its GPU."""
    while True:
        for slot in range(count):
            lock = FileLock(Path(folder) / f"{slot}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            SLOT_LOCKS.append(lock)
            return slot
        time.sleep(0.1)


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if (names := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in names.split(",") if gpu.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def exit_on_signals(end_children: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM, Ctrl-C and SIGHUP end this process with ``128 + signal``, after ``end_children``."""

    def stop(number: int, _: FrameType | None) -> None:
        for handled in handlers:
            signal.signal(handled, signal.SIG_IGN)
        end_children()
        raise SystemExit(128 + number)

    handlers = {number: signal.signal(number, stop) for number in processes.HANDLED_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
