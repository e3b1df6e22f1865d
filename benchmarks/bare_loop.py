"""Train by the recipe of ``train.py`` in a bare PyTorch loop: the difference is the cost of Lightning, logging and checkpoints.

python benchmarks/bare_loop.py STEPS [OVERRIDE …]
"""

import sys
import time
from itertools import islice
from pathlib import Path

import torch
import transformers
from hydra import compose, initialize_config_dir
from speed import print_figures

from lightune.models import cpu, precision
from lightune.training.build_run import build
from lightune.tuning.optimizer_and_schedule import parameter_groups

CONF = Path(__file__).parent.parent.resolve() / "conf"


def main(steps: int, overrides: list[str]) -> None:
    """Train for some steps, and print the figures as JSON."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides)
    cpu.speed_up()
    transformers.set_seed(cfg.seed)
    _, data, task = build(cfg)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task.to(device)
    half = precision.resolve(cfg.trainer.precision, accelerator=cfg.trainer.accelerator) == "bf16-mixed"
    optimizer = task.recipe.optimizer(parameter_groups(task.model))
    scheduler = task.recipe.scheduler(optimizer, num_training_steps=steps)
    samples = tokens = computed = 0
    started = time.perf_counter()
    for batch in islice(data.train_dataloader(), steps):
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss, _ = task.loss(task(batch), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        samples += len(batch["attention_mask"])
        tokens += int(batch["attention_mask"].sum())
        computed += batch["attention_mask"].numel()
    seconds = time.perf_counter() - started
    print_figures(samples=samples, tokens=tokens, computed=computed, seconds=seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
