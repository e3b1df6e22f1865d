"""Estimate cost, learning rate and batch size before training."""

import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.common.files import write_json
from lightune.config import command
from lightune.training.plan import output
from lightune.training.plan.process import in_subprocess

COMPARED_TUNINGS = ("full", "frozen", "lora")
MODULES = "lightune.training.plan"


def run(cfg: DictConfig, *, conf: Path) -> float:
    """Answer ``plan=true``, ``plan=memory`` or ``find=…``: print the result and write it to the run's folder.

    Each measurement runs in a process of its own, because the peak memory of a process never falls. ``conf`` is the
    folder of the configuration groups. Returned are the estimated seconds of the whole run, the bytes that full
    fine-tuning needs, the suggested learning rate or the largest batch size.

    Raises:
        UserError: both options are set, or the run could not be trained either.
    """
    if cfg.plan and cfg.find is not None:
        raise UserError(f"plan={str(cfg.plan).lower()} and find={cfg.find}: set only one of them.")
    if 0 in (cfg.trainer.max_epochs, cfg.trainer.max_steps) or cfg.trainer.get("fast_dev_run"):
        raise UserError("plan and find=… are of an epoch or a step at least, without trainer.fast_dev_run.")
    if processes.is_rank():
        raise UserError("plan and find=… run on one device, and count trainer.devices=…: leave out torchrun and srun.")
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if cfg.plan == "memory":
        return _plan_memory(cfg, conf=conf, folder=folder)
    if cfg.plan:
        return _plan(cfg, conf=conf, folder=folder)
    if cfg.find == "lr":
        result = in_subprocess(f"{MODULES}.find_learning_rate:range_test", _plain(cfg), folder)
        write_json(folder / "lr_find.json", result)
        output.print_lr(result, folder=folder, command=command(f"optimizer.lr={result['suggestion']:.1e}"))
        return float(result["suggestion"])
    result = in_subprocess(f"{MODULES}.find_batch_size:find", _plain(cfg))
    write_json(folder / "batch_size.json", result)
    output.print_batch_size(result, command=command(*output.batch_size_overrides(result)))
    return float(result["largest"])


def _plan(cfg: DictConfig, *, conf: Path, folder: Path) -> float:
    chosen = str(HydraConfig.get().runtime.choices["tuning"])
    tunings: dict[str, Any] = {chosen: cfg.tuning}
    for name in COMPARED_TUNINGS:
        tunings.setdefault(name, OmegaConf.load(conf / "tuning" / f"{name}.yaml"))
    costs: dict[str, dict[str, float]] = {}
    for name, tuning in tunings.items():
        variant = cfg.copy()
        variant.tuning = tuning
        try:
            costs[name] = in_subprocess(
                f"{MODULES}.cost:measure", _plain(variant), started_at=time.time(), is_quiet=name != chosen
            )
        except UserError as error:
            if name == chosen:
                raise
            output.console.print(f"{name}: left out. {error}", highlight=False, markup=False)
    output.average_phases(costs)
    write_json(folder / "plan.json", {"asked": chosen, "tunings": costs})
    output.print_plan(costs, chosen=chosen, folder=folder)
    return costs[chosen]["run/seconds"]


def _plan_memory(cfg: DictConfig, *, conf: Path, folder: Path) -> float:
    lora: Any = OmegaConf.to_container(OmegaConf.load(conf / "tuning" / "lora.yaml"))
    # of the chosen tuning, where it has some of the same
    lora |= {name: cfg.tuning[name] for name in lora if name in cfg.tuning and not name.startswith("_")}
    try:
        needs: dict[str, dict[str, float]] = in_subprocess(f"{MODULES}.memory:compute", _plain(cfg), lora=lora)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"plan=memory cannot compute this model: {str(error).splitlines()[0]}") from error
    write_json(folder / "memory.json", {"computed_bytes": needs})
    output.print_memory(needs, folder=folder)
    return needs["full"]["total"]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return {name: value for name, value in plain.items() if name not in {"hydra", "plan", "find"}}
