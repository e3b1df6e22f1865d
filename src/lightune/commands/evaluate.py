"""``lightune evaluate``: measure the best checkpoint again."""

import argparse
from pathlib import Path

from lightune.commands import Commands
from lightune.commands.open_run import held_out, load
from lightune.common.errors import UserError, listed
from lightune.runs.members import runs_of


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure the best checkpoint again on held-out rows")
    usage = "a run's folder; several, or a sweep's for its best group, answer together"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=usage)
    usage = "default: both; of several runs, those whose rows all have held out"
    parser.add_argument("--split", choices=["validation", "test"], action="append", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    folders = runs_of(arguments.runs)
    cfg, task, preprocessor = load(*folders)

    from lightune.runs.ensemble import common_splits
    from lightune.runs.inference import inference_trainer
    from lightune.runs.score_table import score_table

    common = common_splits(folders)
    splits = arguments.split or common
    if not splits or set(splits) - set(common):
        raise UserError(
            f"These {len(folders)} runs do not hold out the same {listed(set(splits) - set(common) or ['rows'])} rows, so some\n"
            "were trained on what others are measured on. Train them with one data.split_seed; of folds only the test is common."
        )
    data = held_out(cfg, task, preprocessor)
    trainer = inference_trainer(cfg.trainer.precision)
    metrics: dict[str, float] = {}
    for split, measure in (("validation", trainer.validate), ("test", trainer.test)):
        if split in splits:
            metrics.update(measure(task, data, verbose=False)[0])
    Console().print(score_table(metrics, task.signatures()))
