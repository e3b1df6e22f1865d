"""``hydra/launcher=submitit_slurm``: each job of a sweep is one of SLURM's; ``submitit_local`` does the same without SLURM."""

import functools
import os
import shutil
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.lightune_launchers._shared import composed, needed
from lightune.common.errors import UserError
from lightune.sweeps import jobs


class SlurmLauncher(Launcher):
    """Hydra's submitit plugin for SLURM.

    Before its time is up a job is sent SIGUSR1, upon which training saves and has the job queued again. The jobs
    outlive the process that sweeps.

    Args:
        options: the plugin's.
    """

    NAME = "SlurmLauncher"
    WITH_PARENT = False

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # read when submitit is imported
        plugin = needed("hydra_plugins.hydra_submitit_launcher.submitit_launcher", launcher="submitit_slurm")
        submitit = needed("submitit.core.utils", launcher="submitit_slurm")
        if not self.WITH_PARENT and shutil.which("srun") is None:
            raise UserError(
                "hydra/launcher=submitit_slurm needs SLURM's commands, and there is no srun on this machine.\n"
                "Start the sweep on the cluster's login node; here, hydra/launcher=joblib runs several jobs at once."
            )
        composed(self.hydra_context, self.config, job_overrides)
        launcher = getattr(plugin, self.NAME)(**self.options)
        parent = os.getpid() if self.WITH_PARENT else None
        launcher.setup(
            hydra_context=self.hydra_context,
            config=self.config,
            task_function=functools.partial(jobs.run, self.task_function, parent=parent),
        )
        try:
            with jobs.ended_by_signals(lambda: None):
                returned: Sequence[JobReturn] = launcher.launch(job_overrides, initial_job_idx)
        except (
            submitit.FailedJobError,
            submitit.UncompletedJobError,
            submitit.FailedSubmissionError,
        ) as error:
            raise UserError(
                f"A job of the sweep ended without a result: {str(error).strip().splitlines()[0]}\n"
                f"What it printed is in {self.config.hydra.sweep.dir}/.submitit"
            ) from error
        return returned


class LocalLauncher(SlurmLauncher):
    """Hydra's submitit plugin without SLURM, all jobs at once: what they would do there, tried on this machine.

    They end with the process that sweeps.
    """

    NAME = "LocalLauncher"
    WITH_PARENT = True
