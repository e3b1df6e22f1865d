"""One process a device, started by torchrun's own agent: ``python train.py trainer=ddp`` and ``torchrun train.py`` are the same."""

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightune.common.errors import PrunedError, UserError

PARENT_PROCESS = "LIGHTUNE_PARENT"
"""Names the process with which this one ends."""

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
GRACE_SECONDS = 30  # seconds for saving, after a signal


def is_rank() -> bool:
    """Say whether this process was started as one of several, by us, by torchrun or by SLURM."""
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_RANK" in os.environ or slurm


def check_sweep(*, is_sweep: bool) -> None:
    """Refuse a sweep in processes that others have started: each would run it, in a folder of its own.

    Raises:
        UserError: says what starts the processes in a sweep.
    """
    if is_sweep and is_rank():
        raise UserError(
            "A sweep (-m) within torchrun or several SLURM tasks would be run by each process for itself.\n"
            "Leave them out: python train.py -m … trainer=ddp starts the processes of each job."
        )


def num_devices(*, accelerator: str, devices: Any) -> int:
    """Return how many devices of this machine are asked for, as Lightning's Trainer understands it."""
    from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

    gpu: Any = CUDAAccelerator if CUDAAccelerator.is_available() else MPSAccelerator
    kinds = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "gpu": gpu, "mps": MPSAccelerator}
    kind: Any = kinds.get(accelerator, gpu if gpu.is_available() else CPUAccelerator)
    if devices == "auto":
        return int(kind.auto_device_count())
    found = kind.parse_devices(devices)
    return found if isinstance(found, int) else len(found or [])


def run_ranks(arguments: list[str], *, num_ranks: int, num_nodes: int) -> None:
    """Run Python with these arguments in several processes, and wait for all of them.

    Where one fails, the others are ended. A signal to this process goes to all, which save and stop.

    Args:
        arguments: of each: a script and what it is given.
        num_ranks: processes on this machine.
        num_nodes: machines; more than one are for torchrun or SLURM to start.

    Raises:
        UserError: there are several machines.
        SystemExit: a process failed, with its exit code; it has said why.
    """
    if num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={num_nodes}: python train.py starts the processes of one machine. On each machine run\n"
            f"torchrun --nnodes {num_nodes} --nproc-per-node {num_ranks} --rdzv-backend c10d --rdzv-endpoint HOST:29500 train.py …\n"
            "or, under SLURM, srun python train.py … with a task a device."
        )
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=GRACE_SECONDS,
    )
    sys.stdout.flush()
    os.environ[PARENT_PROCESS] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num_ranks)))
    logging.getLogger("torch.distributed.elastic").setLevel(
        logging.CRITICAL
    )  # the process has said why it failed
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        code = failure.exitcode
        raise SystemExit(code if code > 0 else 128 - code) from None
    except SignalException as stopped:
        raise SystemExit(128 + stopped.sigval) from None


def terminate_with_parent() -> None:
    """In a process that :func:`run_ranks` or a launcher has started: where that is killed, save and stop."""
    if PARENT_PROCESS not in os.environ:
        return
    parent, direct = int(os.environ[PARENT_PROCESS]), os.getppid()

    def watch() -> None:
        while os.getppid() == direct and _exists(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)  # it waits for another process, which has ended

    threading.Thread(target=watch, daemon=True, name="terminate_with_parent").start()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def restored_environment() -> Iterator[None]:
    """Put environment variables and signal handlers back as they were, so that the next job of a sweep starts clean."""
    variables = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in HANDLED_SIGNALS}
    try:
        yield
        _leave_group()
    except (SystemExit, PrunedError):
        _leave_group()
        raise
    finally:
        os.environ.clear()
        os.environ.update(variables)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _leave_group() -> None:
    """End the threads of a process group: left to the interpreter's end they abort it now and then, and its exit code."""
    if "torch.distributed" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
