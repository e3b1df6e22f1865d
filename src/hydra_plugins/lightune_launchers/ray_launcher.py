"""``hydra/launcher=ray``: the jobs of a sweep on a Ray cluster, which gives each its cores and GPUs."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.lightune_launchers._shared import composed, needed
from lightune.common.errors import UserError
from lightune.sweeps import jobs


class RayLauncher(Launcher):
    """Each job a task of Ray's, in a fresh process that sees the same folders and packages as this one.

    Args:
        address: of the cluster; ``auto``: that of this machine; ``local``: none, but one for this sweep on this machine.
        num_cpus: cores of each job.
        num_gpus: of each job; None: one where the cluster has any and a job may use it.
    """

    def __init__(self, *, address: str, num_cpus: int, num_gpus: int | None) -> None:
        self.address, self.num_cpus, self.num_gpus = address, num_cpus, num_gpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        ray = needed("ray", launcher="ray")
        trainers = [cfg.trainer for cfg in composed(self.hydra_context, self.config, job_overrides)]
        try:
            ray.init(address=self.address, configure_logging=False)
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"hydra.launcher.address={self.address}: {str(error).splitlines()[0]}\n"
                "Start a cluster (ray start --head), or sweep on this machine alone: hydra.launcher.address=local"
            ) from error
        with_gpu = "GPU" in ray.cluster_resources() and any(each.accelerator != "cpu" for each in trainers)
        task = ray.remote(
            num_cpus=self.num_cpus,
            num_gpus=int(with_gpu) if self.num_gpus is None else self.num_gpus,
            max_calls=1,  # a process keeps its GPU's memory until it ends
            max_retries=0,
        )(run)
        shared = {
            "context": self.hydra_context,
            "config": self.config,
            "task_function": functools.partial(jobs.run, self.task_function, parent=None),
            "singletons": Singleton.get_state(),
            "cwd": str(Path.cwd()),
            "variables": {name: text for name, text in os.environ.items() if name.startswith("LIGHTUNE_")},
        }
        try:
            with jobs.ended_by_signals(lambda: None):
                pending = [
                    task.remote(initial_job_idx + number, list(overrides), **shared)
                    for number, overrides in enumerate(job_overrides)
                ]
                returned: Sequence[JobReturn] = ray.get(pending)
        except ray.exceptions.RayError as error:
            raise UserError(
                f"A job of the sweep ended without a result: {str(error).strip().splitlines()[-1][:300]}"
            ) from error
        finally:
            ray.shutdown()
        return returned


def run(
    number: int,
    overrides: list[str],
    *,
    context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    singletons: Any,
    cwd: str,
    variables: dict[str, str],
) -> JobReturn:
    """Run a job in a process of Ray's.

    Args:
        number: of the job.
        overrides: of the job.
        context: Hydra's.
        config: of the sweep.
        task_function: what Hydra is to call.
        singletons: Hydra's state.
        cwd: where the sweep was started.
        variables: of the environment, secrets among them: Ray would write those of a ``runtime_env`` to its logs.

    Returns:
        What Hydra tells its sweeper.
    """
    os.chdir(cwd)
    os.environ.update(variables)
    setup_globals()
    Singleton.set_state(singletons)
    cfg = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(cfg):
        cfg.hydra.job.id, cfg.hydra.job.num = f"{cfg.hydra.job.name}_{number}", number
    HydraConfig.instance().set_config(cfg)
    return run_job(
        hydra_context=context,
        task_function=task_function,
        config=cfg,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
