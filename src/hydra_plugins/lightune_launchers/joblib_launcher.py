"""``hydra/launcher=joblib``: run several jobs of a sweep at once, each on its share of this machine."""

import functools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.lightune_launchers._base import BaseLauncher, import_extra
from lightune.common import processes
from lightune.common.errors import UserError
from lightune.config.hydra_internals import basic_launcher
from lightune.sweeps import jobs


class JoblibLauncher(BaseLauncher):
    """Hydra's joblib plugin; each job has a share of the cores and GPUs of its own.

    Args:
        n_jobs: simultaneous jobs; -1: as many as the GPUs allow, or the cores where there are none, for the devices of a job.
        parallel: the plugin's other options.
    """

    def __init__(self, *, n_jobs: int, **parallel: Any) -> None:
        if n_jobs < 1 and n_jobs != -1:
            raise UserError(
                f"hydra.launcher.n_jobs={n_jobs}: expected the number of simultaneous jobs, or -1 for as many as fit."
            )
        self.n_jobs, self.parallel = n_jobs, parallel

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        plugin = import_extra("hydra_plugins.hydra_joblib_launcher.joblib_launcher", launcher="joblib")
        from joblib import cpu_count
        from joblib.externals.loky import get_reusable_executor

        trainers = [cfg.trainer for cfg in self.compose(job_overrides)]
        on_cpu = all(trainer.accelerator == "cpu" for trainer in trainers)
        gpus = [] if on_cpu else jobs.visible_gpus()
        devices = max(trainer.devices if isinstance(trainer.devices, int) else 1 for trainer in trainers)
        capacity = max(1, (len(gpus) or cpu_count()) // max(1, devices))
        n_jobs = min(capacity if self.n_jobs == -1 else self.n_jobs, len(job_overrides))
        if n_jobs == 1:
            # joblib too would run the jobs in this process
            return self.set_up(basic_launcher(), self.task_function).launch(job_overrides, initial_job_idx)
        with tempfile.TemporaryDirectory() as slots, jobs.exit_on_signals(end_workers):
            shared = jobs.GPUs(gpus, n_jobs=n_jobs, slots=slots)
            launcher = self.set_up(
                plugin.JoblibLauncher(**{**self.parallel, "n_jobs": n_jobs, "batch_size": 1}),
                functools.partial(jobs.run_job, self.task_function, parent=os.getpid(), gpus=shared),
            )
            try:
                results = launcher.launch(job_overrides, initial_job_idx)
            except BrokenProcessPool as error:
                raise UserError(
                    "A process of the sweep was killed, most likely because memory ran out; the others were ended.\n"
                    f"Run fewer jobs at once: hydra.launcher.n_jobs={max(1, n_jobs // 2)}"
                ) from error
            # its processes would keep their memory, also a GPU's
            get_reusable_executor(reuse=True).shutdown()
            return results


def end_workers() -> None:
    """End joblib's processes; those that are training save first."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + processes.GRACE_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
