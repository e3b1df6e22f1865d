"""``finetune export``: the model as a folder that other libraries load."""

import argparse
from pathlib import Path

from finetune.commands import Commands
from finetune.commands.finished import load
from finetune.errors import UserError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("export", help="write the best model as a folder that transformers loads")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--adapter", action="store_true", help="what tuning=lora learned alone, for peft")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.out.exists():
        raise UserError(f"--out {arguments.out} is there already. Name a folder that is not.")
    cfg, task, _ = load(arguments.run)

    from finetune import embedded
    from finetune.export import export_adapter, export_merged
    from finetune.pretrained import PretrainedModel

    saved = PretrainedModel(pretrained_model_name_or_path=str(arguments.run / "model"))
    tokenizer = saved.load_tokenizer()
    if not arguments.adapter:
        export_merged(task.model, tokenizer, out=arguments.out)
    elif cfg.model.from_run is not None:
        raise UserError(
            f"This adapter stands on the weights of another run, {cfg.model.from_run}, which have no name of their own.\n"
            "Export the whole model: leave --adapter out."
        )
    else:
        base = embedded.resolve(cfg.model.pretrained_model_name_or_path)
        export_adapter(task.model, tokenizer, out=arguments.out, base=base, revision=cfg.model.revision)
    print(arguments.out)
