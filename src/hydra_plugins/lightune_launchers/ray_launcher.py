"""``hydra/launcher=ray``: run the jobs of a sweep on a Ray cluster, which assigns cores and GPUs."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.lightune_launchers._base import BaseLauncher, import_extra
from lightune.common.errors import UserError
from lightune.sweeps import jobs


class RayLauncher(BaseLauncher):
    """Run each job as a Ray task, in a new process with the folders and packages of this one.

    Args:
        address: of the cluster; ``auto``: this machine's; ``local``: a new one on this machine, for this sweep.
        num_cpus: cores per job.
        num_gpus: GPUs per job; None: one where the cluster has any and a job may use it.
    """

    def __init__(self, *, address: str, num_cpus: int, num_gpus: int | None) -> None:
        self.address, self.num_cpus, self.num_gpus = address, num_cpus, num_gpus

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        ray = import_extra("ray", launcher="ray")
        configs = self.compose(job_overrides)
        try:
            ray.init(address=self.address, configure_logging=False)
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"hydra.launcher.address={self.address}: {str(error).splitlines()[0]}\n"
                "Start a cluster (ray start --head), or sweep on this machine alone: hydra.launcher.address=local"
            ) from error
        with_gpu = "GPU" in ray.cluster_resources() and any(cfg.trainer.accelerator != "cpu" for cfg in configs)
        task = ray.remote(
            num_cpus=self.num_cpus,
            num_gpus=int(with_gpu) if self.num_gpus is None else self.num_gpus,
            # a process keeps its GPU's memory until it ends
            max_calls=1,
            max_retries=0,
        )(run)
        shared = {
            "context": self.hydra_context,
            "config": self.config,
            "task_function": functools.partial(jobs.run_job, self.task_function, parent=None),
            "singletons": Singleton.get_state(),
            "cwd": str(Path.cwd()),
            "variables": {name: value for name, value in os.environ.items() if name.startswith("LIGHTUNE_")},
        }
        try:
            with jobs.exit_on_signals(lambda: None):
                pending = [
                    task.remote(initial_job_idx + number, list(overrides), **shared)
                    for number, overrides in enumerate(job_overrides)
                ]
                results: Sequence[JobReturn] = ray.get(pending)
        except ray.exceptions.RayError as error:
            raise UserError(
                f"A job of the sweep ended without a result: {str(error).strip().splitlines()[-1][:300]}"
            ) from error
        finally:
            ray.shutdown()
        return results


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
    """Run a job in a Ray process, as Hydra's own launcher does in the sweeping process.

    Environment variables are arguments because some are secret: Ray would log those of a ``runtime_env``.
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
