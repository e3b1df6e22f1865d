"""One process for each device, started by torchrun's own agent: ``trainer=ddp`` needs no torchrun."""

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

import psutil

from lightune.common.errors import PrunedError, UserError

# the environment variable with the id of the process that this one must not outlive
PARENT_PROCESS = "LIGHTUNE_PARENT"
HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# to save after a signal
GRACE_SECONDS = 30


def is_rank() -> bool:
    """Say whether this process is one of several that we, torchrun or SLURM have started."""
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_RANK" in os.environ or slurm


def check_sweep(*, is_sweep: bool) -> None:
    """Raise a UserError for a sweep within torchrun or SLURM tasks: each process would run all of it."""
    if is_sweep and is_rank():
        raise UserError(
            "A sweep (-m) within torchrun or several SLURM tasks would be run by each process for itself.\n"
            "Leave them out: python train.py -m … trainer=ddp starts the processes of each job."
        )


def num_devices(*, accelerator: str, devices: Any) -> int:
    """Return the number of devices of this machine that Lightning's Trainer would use for the same arguments."""
    from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

    gpu: Any = CUDAAccelerator if CUDAAccelerator.is_available() else MPSAccelerator
    kinds = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "gpu": gpu, "mps": MPSAccelerator}
    kind: Any = kinds.get(accelerator, gpu if gpu.is_available() else CPUAccelerator)
    if devices == "auto":
        return int(kind.auto_device_count())
    parsed = kind.parse_devices(devices)
    return parsed if isinstance(parsed, int) else len(parsed or [])


def run_ranks(arguments: list[str], *, num_ranks: int, num_nodes: int) -> None:
    """Run a script, the first of the arguments, in ``num_ranks`` processes on this machine, and wait for all of them.

    If one fails, the others are terminated. A signal to this process goes to all, which save and stop.

    Raises:
        UserError: there are several machines, whose processes torchrun or SLURM must start.
        SystemExit: a process failed and has printed why; with its exit code.
    """
    if num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={num_nodes}: python train.py starts the processes of one machine. On each machine run\n"
            f"torchrun --nnodes {num_nodes} --nproc-per-node {num_ranks} --rdzv-backend c10d --rdzv-endpoint HOST:29500 train.py …\n"
            "or, under SLURM, srun python train.py … with one task for each device."
        )
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
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
        # no folder that stays in /tmp
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        max_restarts=0,
        shutdown_timeout=GRACE_SECONDS,
    )
    sys.stdout.flush()
    os.environ[PARENT_PROCESS] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num_ranks)))
    # the failed process has printed why
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        raise SystemExit(code if code > 0 else 128 - code) from None
    except SignalException as stopped:
        raise SystemExit(128 + stopped.sigval) from None


def terminate_with_parent() -> None:
    """Save and stop if the process that started this one, by ``run_ranks`` or a launcher, is killed."""
    if PARENT_PROCESS not in os.environ:
        return
    parent, direct_parent = int(os.environ[PARENT_PROCESS]), os.getppid()

    def watch() -> None:
        while os.getppid() == direct_parent and psutil.pid_exists(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        # still here: it waits for another process, which has ended
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="terminate_with_parent").start()


@contextmanager
def restored_environment() -> Iterator[None]:
    """Restore environment variables and signal handlers afterwards, so that a sweep's next job starts clean."""
    variables = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in HANDLED_SIGNALS}
    try:
        yield
        _destroy_process_group()
    except (SystemExit, PrunedError):
        _destroy_process_group()
        raise
    finally:
        os.environ.clear()
        os.environ.update(variables)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _destroy_process_group() -> None:
    """End a process group's threads: those that live until the interpreter exits sometimes abort it."""
    if "torch.distributed" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
