"""``hydra/launcher=joblib``: several jobs at once on this machine, which is shared out among them."""

import functools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.lightune_launchers._shared import composed, needed
from lightune.common import processes
from lightune.common.errors import UserError
from lightune.sweeps import jobs


class JoblibLauncher(Launcher):
    """Hydra's joblib plugin, each job with its share of the cores and with GPUs of its own.

    Args:
        n_jobs: at once; -1: as many as there are GPUs, or without any cores, for each job's devices.
        parallel: the plugin's other options.
    """

    def __init__(self, *, n_jobs: int, **parallel: Any) -> None:
        if n_jobs < 1 and n_jobs != -1:
            raise UserError(
                f"hydra.launcher.n_jobs={n_jobs}: expected how many run at once, or -1 to share out all."
            )
        self.n_jobs, self.parallel = n_jobs, parallel

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        plugin = needed("hydra_plugins.hydra_joblib_launcher.joblib_launcher", launcher="joblib")
        from joblib.externals.loky import get_reusable_executor

        trainers = [cfg.trainer for cfg in composed(self.hydra_context, self.config, job_overrides)]
        on_cpu = all(trainer.accelerator == "cpu" for trainer in trainers)
        gpus = [] if on_cpu else jobs.visible_gpus()
        devices = max(trainer.devices if isinstance(trainer.devices, int) else 1 for trainer in trainers)
        room = max(1, (len(gpus) or num_cores()) // max(1, devices))
        n_jobs = min(room if self.n_jobs == -1 else self.n_jobs, len(job_overrides))
        if n_jobs == 1:  # which joblib would run in this process
            basic = BasicLauncher()
            basic.setup(
                hydra_context=self.hydra_context, config=self.config, task_function=self.task_function
            )
            return basic.launch(job_overrides, initial_job_idx)
        with tempfile.TemporaryDirectory() as slots, jobs.ended_by_signals(end_workers):
            launcher = plugin.JoblibLauncher(**{**self.parallel, "n_jobs": n_jobs, "batch_size": 1})
            launcher.setup(
                hydra_context=self.hydra_context,
                config=self.config,
                task_function=functools.partial(
                    jobs.run_in_share,
                    self.task_function,
                    parent=os.getpid(),
                    slots=slots,
                    n_jobs=n_jobs,
                    gpus=gpus,
                ),
            )
            try:
                returned: Sequence[JobReturn] = launcher.launch(job_overrides, initial_job_idx)
            except BrokenProcessPool as error:
                raise UserError(
                    "A process of the sweep was killed, most often for want of memory; the others were ended.\n"
                    f"Fewer at once need less: hydra.launcher.n_jobs={max(1, n_jobs // 2)}"
                ) from error
            get_reusable_executor(reuse=True).shutdown()  # its processes would keep memory, a GPU's too
            return returned


def num_cores() -> int:
    """Return how many cores this process may use, in a container too."""
    import joblib

    return int(joblib.cpu_count())


def end_workers() -> None:
    """End joblib's processes; those that train save first."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + processes.GRACE_SECONDS
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
