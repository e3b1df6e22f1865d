"""``finetune evaluate``: measure the best checkpoint again."""

import argparse
from pathlib import Path

from finetune.commands import Commands
from finetune.commands.finished import inference_trainer, load
from finetune.errors import UserError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure the best checkpoint again on held-out rows")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--split", choices=["validation", "test"], action="append", help="default: both")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from hydra.utils import instantiate
    from rich.console import Console

    from finetune.results import score_table

    cfg, task, preprocessor = load(arguments.run)
    data = instantiate(cfg.datamodule, preprocessor=preprocessor, _convert_="all")
    data.setup()
    trained_on = list(task.model.config.id2label.values())
    labels = list(data.head.get("id2label", {}).values())
    if labels and labels != trained_on:
        raise UserError(
            f"The data has changed since the run: its labels are {labels}, "
            f"the run was trained on {trained_on}.\nRestore the data at {cfg.data.path}."
        )
    trainer = inference_trainer(cfg)
    metrics: dict[str, float] = {}
    splits = arguments.split or ["validation", "test"]
    for split, measure in (("validation", trainer.validate), ("test", trainer.test)):
        if split in splits:
            metrics.update(measure(task, data, verbose=False)[0])
    Console().print(score_table(metrics))
