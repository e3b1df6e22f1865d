"""The whole procedure: load a pretrained model, prepare the data, fine-tune, evaluate."""

from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from lightune.common import processes
from lightune.common.fast_imports import fast_imports
from lightune.common.files import write_json
from lightune.config import (
    check_added,
    check_calls,
    check_checkpoints,
    check_made,
    check_pairing,
    check_resumed,
    friendly_errors,
    guarded_command_line,
    rerun_arguments,
)
from lightune.sweeps.run_trial import run_as_trial
from lightune.training import plan

# a link to the conf/ of the repository; an installed package holds a copy
CONF = (Path(__file__).parent / "conf").resolve()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def train(cfg: DictConfig) -> float:
    """Run one experiment; return the monitored metric, which a sweep may optimize."""
    with friendly_errors(CONF):
        return run_as_trial(fine_tune, cfg)


def fine_tune(cfg: DictConfig) -> float:
    """Load a pretrained model, prepare the data, fine-tune, evaluate."""
    check_pairing(cfg, data=HydraConfig.get().runtime.choices.get("data"))
    check_calls(cfg)
    check_added(cfg)
    check_checkpoints(cfg)
    processes.terminate_with_parent()
    if cfg.plan or cfg.find is not None:
        return plan.run(cfg, conf=CONF)

    with fast_imports():
        import lightning

        from lightune.common.quiet import quiet
        from lightune.models import cpu
        from lightune.runs.load_run import check_labels
        from lightune.runs.run_folder import Run
        from lightune.training import environment
        from lightune.training.build_run import build, check_batches, make_trainer, reach_min_steps
        from lightune.training.calibrate import calibrate
        from lightune.training.callbacks import MetricsCSV, Profile, StepSeed, Throughput
        from lightune.training.measure_pretrained import measure_pretrained
        from lightune.training.results import keep_best_checkpoint, save_results

    quiet()
    check_made(cfg)
    cpu.speed_up()
    run = Run(Path(cfg.run_dir))
    is_resumed = run.is_resumed(asked=cfg.resume is not None)
    if is_resumed:
        check_resumed(cfg, run.folder, overrides=HydraConfig.get().overrides.task)
    devices = processes.num_devices(accelerator=cfg.trainer.accelerator, devices=cfg.trainer.devices)
    if devices * cfg.trainer.num_nodes > 1 and not processes.is_rank():
        arguments = ["-m", "lightune.train", *rerun_arguments(run.folder)]
        processes.run_ranks(arguments, num_ranks=devices, num_nodes=cfg.trainer.num_nodes)
        return run.monitored()
    checkpoint = run.checkpoint_to_resume() if is_resumed else None
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)

    # 1. Load a pretrained model: its tokenizer, its weights θ
    # 2. Prepare the data: read, split, tokenize
    tokenizer, data, task = build(cfg)
    if is_resumed:
        check_labels(data, trained_on=run.head().get("id2label", {}))

    # 3. Fine-tune: θ becomes θ + Δθ
    if cfg.monitor.metric is None:
        cfg.monitor.metric, cfg.monitor.mode = task.monitor
    throughput = Throughput()
    metrics_csv = MetricsCSV(run.folder / "metrics.csv")
    # after Throughput, whose figures it writes
    callbacks = [*instantiate(cfg.callbacks, _convert_="all").values(), StepSeed(cfg.seed), throughput, metrics_csv]
    if cfg.profile:
        callbacks.append(Profile(run.folder / "profile"))
    loggers = [*instantiate(cfg.logger, _convert_="all").values(), metrics_csv]
    trainer = make_trainer(cfg, callbacks=callbacks, logger=loggers)
    check_batches(trainer, data)
    reach_min_steps(trainer, data)
    if trainer.is_global_zero:
        run.save_model_files(tokenizer, task.model)
        run.save_head(data.head)
        write_json(run.environment, environment.describe(CONF.parent))
    pretrained = measure_pretrained(trainer, task, data, run) if cfg.measure_pretrained else {}
    trainer.fit(task, data, ckpt_path=checkpoint)
    keep_best_checkpoint(trainer, run)

    # 4. Evaluate the best checkpoint on validation and test
    metrics = {**pretrained, **throughput.summary(trainer), **task.num_parameters()}
    evaluate: dict[str, Any] = {"ckpt_path": str(run.best), "weights_only": True, "verbose": False}
    metrics |= trainer.validate(task, data, **evaluate)[0]
    if calibrate(trainer, task, run):
        metrics |= trainer.validate(task, data, **evaluate)[0]
    metrics |= trainer.test(task, data, **evaluate)[0]
    metrics["monitored"] = metrics[cfg.monitor.metric]
    rows = {stage: task.all_rows(stage) for stage in ("val", "test")}
    if trainer.is_global_zero:
        save_results(run, metrics, rows, data=data, task=task, report=cfg.report)
    return float(metrics["monitored"])


def main() -> None:
    """Read the command line, and train."""
    with friendly_errors(CONF), guarded_command_line():
        train()


if __name__ == "__main__":
    main()
