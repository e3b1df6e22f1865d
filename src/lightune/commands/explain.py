"""``lightune explain``: which words spoke for a prediction, and which against."""

import argparse
from pathlib import Path

from lightune.commands import Commands
from lightune.commands.open_run import load
from lightune.commands.output import HTML, check_out, write_out
from lightune.commands.text_arguments import add_text, add_text_pair, text_rows
from lightune.config import load_run_config


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("explain", help="show which words spoke for a prediction, and which against")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    add_text(parser, required=True)
    add_text_pair(parser)
    parser.add_argument("--target", metavar="LABEL", help="explain this label, not the predicted one")
    parser.add_argument("--out", type=Path, help="write an HTML page here instead of the screen")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    cfg = load_run_config(arguments.run)
    check_out(arguments.out, endings=HTML)

    import torch
    from rich.console import Console

    from lightune.runs.explain import check_explainable, explain, page, render
    from lightune.runs.load_run import task_class

    check_explainable(task_class(cfg), name=f"{arguments.run} is a run of {cfg.task_name}")
    _, task, preprocessor = load(arguments.run)
    if torch.cuda.is_available():
        task.to("cuda")
    console = Console()
    explanations = []
    for texts in text_rows(arguments, preprocessor.input_columns):
        found = explain(task, preprocessor, texts, target=arguments.target)
        if not found:
            console.print(f"No entity: {texts[0]}", markup=False, highlight=False)
        for explanation in found if arguments.out is None else ():
            console.print(render(explanation), highlight=False, end="\n\n", soft_wrap=not console.is_terminal)
        explanations += found
    if arguments.out is not None:
        write_out(arguments.out, page(explanations, title=f"Why: {arguments.run.name}"))
