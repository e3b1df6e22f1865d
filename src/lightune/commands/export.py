"""``lightune export``: the model as a folder that other libraries load, with a card, and on the Hub."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightune.commands import Commands
from lightune.commands.open_run import held_out, load
from lightune.common.errors import UserError
from lightune.common.packages import check_installed

if TYPE_CHECKING:
    from lightune.data.preprocessors.base import Preprocessor
    from lightune.runs.export.int8 import Comparison
    from lightune.tasks import Task

ROWS = 500  # of test, on which int8 is compared


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("export", help="write the best model as a folder that other libraries load")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--adapter", action="store_true", help="only what tuning=lora trained, for peft")
    usage = "hf: for transformers (default); onnx: a graph for onnxruntime"
    parser.add_argument("--format", choices=["hf", "onnx"], default="hf", help=usage)
    parser.add_argument("--quantize", choices=["int8"], help="a smaller and faster ONNX graph, compared with float32")
    usage = "upload it too; a new repository is private; the token is HF_TOKEN"
    parser.add_argument("--push-to-hub", metavar="NAME", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    cfg, task, preprocessor = load(arguments.run)

    from lightune.common.files import atomic_folder
    from lightune.runs.export.card import write_card

    comparison = None
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with atomic_folder(arguments.out) as folder:
        preprocessor.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        if arguments.format == "onnx":
            comparison = _write_onnx(cfg, task, preprocessor, folder, int8=arguments.quantize is not None)
        else:
            _write_hf(cfg, task, folder, adapter=arguments.adapter)
        write_card(
            folder,
            run=arguments.run,
            config=config,
            task=task,
            preprocessor=preprocessor,
            onnx=arguments.format == "onnx",
            adapter=arguments.adapter,
            comparison=comparison,
        )
    if comparison is not None:
        _print_comparison(comparison)
    print(arguments.out)
    if arguments.push_to_hub is not None:
        from lightune.runs.export.upload import upload

        print(upload(arguments.out, name=arguments.push_to_hub))


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that exclude each other, a package or a token that is missing, or a folder that exists."""
    if arguments.out.exists():
        raise UserError(f"--out {arguments.out} exists already. Name a new folder.")
    if arguments.quantize and arguments.format != "onnx":
        raise UserError(f"--quantize {arguments.quantize} is for the ONNX graph. Add --format onnx")
    if arguments.format == "onnx":
        if arguments.adapter:
            raise UserError("--adapter is for peft, --format onnx for onnxruntime: leave one of them out.")
        check_installed("onnx", "onnxruntime", "onnxscript", extra="onnx", needed_by="--format onnx")
    if arguments.push_to_hub is not None:
        from lightune.runs.export.upload import check_upload

        check_upload(arguments.push_to_hub)


def _write_hf(cfg: DictConfig, task: "Task", folder: Path, *, adapter: bool) -> None:
    from lightune.common import package_index
    from lightune.runs.export.hf import save_adapter, save_merged

    if not adapter:
        save_merged(task.model, folder)
        return
    base = cfg.model.from_run or package_index.resolve(cfg.model.pretrained_model_name_or_path)
    if cfg.model.from_run is not None or base.endswith(".gguf"):
        raise UserError(
            f"This adapter was trained on the weights of {base}, which peft cannot load by a name.\n"
            "Export the whole model: leave --adapter out."
        )
    save_adapter(task.model, folder, base=base, revision=cfg.model.revision)


def _write_onnx(
    cfg: DictConfig, task: "Task", preprocessor: "Preprocessor", folder: Path, *, int8: bool
) -> "Comparison | None":
    from lightune.runs.export.int8 import quantize
    from lightune.runs.export.onnx import check_exportable, export_onnx

    check_exportable(task)
    batches: Any = None
    if int8:  # the data is read first: if it cannot be, nothing has been computed
        rows = min(ROWS, cfg.data.get("max_test_samples") or cfg.data.max_eval_samples or ROWS)
        batches = held_out(cfg, task, preprocessor, max_test_samples=rows).test_dataloader()
    task.model.config.save_pretrained(folder)
    difference = export_onnx(task, preprocessor, file=folder / "model.onnx")
    print(f"ONNX: its logits are PyTorch's to {difference:.1e}")
    return quantize(folder / "model.onnx", task, batches) if int8 else None


def _print_comparison(comparison: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "float32", "int8")
    for row in comparison.table():
        table.add_row(*row)
    Console().print(table)
    print(f"{comparison.times_as_fast:.2f} times as fast, on {comparison.rows} rows of test")
