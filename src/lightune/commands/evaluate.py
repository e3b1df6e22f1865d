"""``lightune evaluate``: measure the best checkpoint again."""

import argparse
from pathlib import Path

from lightune.commands import Commands
from lightune.commands.open_run import held_out, load


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure the best checkpoint again on held-out rows")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--split", choices=["validation", "test"], action="append", help="default: both")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from lightune.runs.inference import inference_trainer
    from lightune.runs.score_table import score_table

    cfg, task, preprocessor = load(arguments.run)
    data = held_out(cfg, task, preprocessor)
    trainer = inference_trainer(cfg.trainer.precision)
    metrics: dict[str, float] = {}
    splits = arguments.split or ["validation", "test"]
    for split, measure in (("validation", trainer.validate), ("test", trainer.test)):
        if split in splits:
            metrics.update(measure(task, data, verbose=False)[0])
    Console().print(score_table(metrics, task.signatures()))
