"""``hydra/launcher=submitit_slurm``: run each job of a sweep as a SLURM job; ``submitit_local`` does so without SLURM."""

import functools
import os
import shutil
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.lightune_launchers._base import BaseLauncher, import_extra
from lightune.common.errors import UserError
from lightune.sweeps import jobs


class SlurmLauncher(BaseLauncher):
    """Hydra's submitit plugin for SLURM.

    Before its time limit a job receives SIGUSR1; training then saves and has the job requeued. The jobs outlive the
    sweeping process.
    """

    NAME = "SlurmLauncher"
    ENDS_WITH_PARENT = False

    def __init__(self, **options: Any) -> None:
        self.options = options

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # submitit reads this variable when it is imported
        os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
        plugin = import_extra("hydra_plugins.hydra_submitit_launcher.submitit_launcher", launcher="submitit_slurm")
        submitit = import_extra("submitit.core.utils", launcher="submitit_slurm")
        if not self.ENDS_WITH_PARENT and shutil.which("srun") is None:
            raise UserError(
                "hydra/launcher=submitit_slurm needs SLURM's commands, and there is no srun on this machine.\n"
                "Start the sweep on the cluster's login node; here, hydra/launcher=joblib runs several jobs at once."
            )
        self.compose(job_overrides)
        parent = os.getpid() if self.ENDS_WITH_PARENT else None
        launcher = self.set_up(
            getattr(plugin, self.NAME)(**self.options),
            functools.partial(jobs.run_job, self.task_function, parent=parent),
        )
        errors = (submitit.FailedJobError, submitit.UncompletedJobError, submitit.FailedSubmissionError)
        try:
            with jobs.exit_on_signals(lambda: None):
                return launcher.launch(job_overrides, initial_job_idx)
        except errors as error:
            raise UserError(
                f"A job of the sweep ended without a result: {str(error).strip().splitlines()[0]}\n"
                f"Its output is in {self.config.hydra.sweep.dir}/.submitit"
            ) from error


class LocalLauncher(SlurmLauncher):
    """Hydra's submitit plugin without SLURM: all jobs at once on this machine, to try what they would do on a cluster.

    The jobs end with the sweeping process.
    """

    NAME = "LocalLauncher"
    ENDS_WITH_PARENT = True
