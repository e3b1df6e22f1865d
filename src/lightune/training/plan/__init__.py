"""What is asked before training: what it costs, at which learning rate, in how large batches. Nothing is trained."""

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.config import chosen_tuning, command
from lightune.training.plan import batch_size, learning_rate, output
from lightune.training.plan.process import in_subprocess

COMPARED = ("full", "frozen", "lora")


def run(cfg: DictConfig, *, conf: Path) -> float:
    """Answer ``plan=true`` or ``find=…``: print it, and write it into the run's folder.

    Each measurement has a process of its own, for a process's memory never shrinks.

    Args:
        cfg: of the run that is asked about.
        conf: folder of the configuration groups.

    Returns:
        The seconds of the whole run; or what was found.

    Raises:
        UserError: both are asked, or the run could not be trained either.
    """
    if cfg.plan and cfg.find is not None:
        raise UserError(f"plan=true and find={cfg.find}: ask for one of them.")
    if processes.is_rank():
        raise UserError(
            "plan=true and find=… measure on one device: leave out torchrun and srun. trainer.devices=… is counted with."
        )
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if cfg.plan:
        return _plan(cfg, conf=conf, folder=folder)
    if cfg.find == "lr":
        learning_rate.check_plotting()
        found = in_subprocess("lightune.training.plan.learning_rate:test_range", _plain(cfg), folder)
        output.write(folder / "lr_find.json", found)
        output.print_lr(found, folder=folder, command=command(f"optimizer.lr={found['suggestion']:.1e}"))
        return float(found["suggestion"])
    found = in_subprocess("lightune.training.plan.batch_size:find", _plain(cfg))
    output.write(folder / "batch_size.json", found)
    output.print_batch_size(found, command=command(*batch_size.overrides(found)))
    return float(found["largest"])


def _plan(cfg: DictConfig, *, conf: Path, folder: Path) -> float:
    asked = chosen_tuning()
    tunings: dict[str, Any] = {asked: cfg.tuning}
    for name in COMPARED:
        tunings.setdefault(name, OmegaConf.load(conf / "tuning" / f"{name}.yaml"))
    costs: dict[str, dict[str, float]] = {}
    for name, tuning in tunings.items():
        one = cfg.copy()
        one.tuning = tuning
        try:
            costs[name] = in_subprocess(
                "lightune.training.plan.cost:measure",
                _plain(one),
                asked_at=time.time(),
                quietly=name != asked,
            )
        except UserError as error:
            if name == asked:
                raise
            output.console.print(f"{name}: left out. {error}", highlight=False, markup=False)
    output.mix_phases(costs)
    output.write(folder / "plan.json", {"asked": asked, "tunings": costs})
    output.print_plan(costs, asked=asked, folder=folder)
    return costs[asked]["run/seconds"]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return {name: value for name, value in plain.items() if name not in {"hydra", "plan", "find"}}
