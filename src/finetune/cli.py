"""``finetune``: what can be done with a finished run, by its folder alone."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.config import friendly_errors, load_run_config, started_with
from finetune.errors import UserError, nearest

if TYPE_CHECKING:  # torch and transformers take seconds to import: each command imports what it needs
    from omegaconf import DictConfig

    from finetune.data.preprocessor import Preprocessor
    from finetune.tasks import Task


def main(argv: list[str] | None = None) -> None:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with friendly_errors():
        arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("finetune", description="Work on a finished run, by its folder alone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    resume = commands.add_parser("resume", help="go on with a run that was stopped, as if it had not been")
    resume.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    resume.add_argument("overrides", nargs="*", metavar="OPTION=VALUE", help="such as trainer.max_epochs=5")
    resume.set_defaults(command=_resume)

    evaluate = commands.add_parser("evaluate", help="measure the best checkpoint again on held-out rows")
    evaluate.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    evaluate.add_argument("--split", choices=["validation", "test"], action="append", help="default: both")
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="label texts; one JSON object a line")
    predict.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    source = predict.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--text", "--question", action="append", dest="text", help="a text; may be given several times"
    )
    source.add_argument(
        "--file", type=Path, help="CSV, TSV, JSON, JSONL or Parquet with the run's columns, or plain lines"
    )
    predict.add_argument(
        "--text-pair",
        "--context",
        action="append",
        dest="text_pair",
        help="the second text of each --text, for runs on pairs; the text that a --question is asked of",
    )
    predict.add_argument("--out", type=Path, help="write here instead of the screen")
    predict.add_argument("--batch-size", type=int, default=32, help="texts at a time (default: 32)")
    predict.set_defaults(command=_predict)

    export = commands.add_parser("export", help="write the best model as a folder that transformers loads")
    export.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    export.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    export.add_argument("--adapter", action="store_true", help="what tuning=lora learned alone, for peft")
    export.set_defaults(command=_export)
    return parser


def _resume(arguments: argparse.Namespace) -> None:
    """Start ``train.py`` again as the run was started, in this process's place: signals and exit code are its own."""
    script = Path(__file__).parents[2] / "train.py"
    overrides, cwd = started_with(arguments.run.resolve())
    os.chdir(cwd if cwd.is_dir() else Path.cwd())
    os.execv(sys.executable, [sys.executable, str(script), *overrides, *arguments.overrides])


def _evaluate(arguments: argparse.Namespace) -> None:
    from hydra.utils import instantiate
    from rich.console import Console

    from finetune.results import score_table

    cfg, task, preprocessor = _load(arguments.run)
    data = instantiate(cfg.datamodule, preprocessor=preprocessor, _convert_="all")
    data.setup()
    trained_on = list(task.model.config.id2label.values())
    labels = list(data.head.get("id2label", {}).values())
    if labels and labels != trained_on:
        raise UserError(
            f"The data has changed since the run: its labels are {labels}, "
            f"the run was trained on {trained_on}.\nRestore the data at {cfg.data.path}."
        )
    trainer = _trainer(cfg)
    metrics: dict[str, float] = {}
    splits = arguments.split or ["validation", "test"]
    for split, measure in (("validation", trainer.validate), ("test", trainer.test)):
        if split in splits:
            metrics.update(measure(task, data, verbose=False)[0])
    Console().print(score_table(metrics))


def _predict(arguments: argparse.Namespace) -> None:
    from datasets import Dataset
    from torch.utils.data import DataLoader

    cfg, task, preprocessor = _load(arguments.run)
    columns = preprocessor.input_columns
    rows = _read_rows(arguments, columns)
    prepared = preprocessor.prepare(Dataset.from_dict(rows), split="given", labelled=False)
    features = prepared.map(
        preprocessor, batched=True, fn_kwargs={"training": False}, remove_columns=prepared.column_names
    )
    loader = DataLoader(features, batch_size=arguments.batch_size, collate_fn=preprocessor.collate)
    with _output(arguments.out) as write:
        index = 0
        for batch in _trainer(cfg).predict(task, loader) or []:
            for prediction in batch:
                texts = {column: rows[column][index] for column in columns}
                write(json.dumps({**texts, **prediction}, ensure_ascii=False, default=str))
                index += 1


def _export(arguments: argparse.Namespace) -> None:
    if arguments.out.exists():
        raise UserError(f"--out {arguments.out} is there already. Name a folder that is not.")
    cfg, task, _ = _load(arguments.run)

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


def _load(folder: Path) -> "tuple[DictConfig, Task, Preprocessor]":
    """Rebuild a run's task, with the best checkpoint's weights, and its preprocessor."""
    load_run_config(folder)  # what is wrong with it is said before torch is imported

    from finetune import cpu
    from finetune.quiet import quiet
    from finetune.rebuild import rebuild

    quiet()
    cpu.speed_up()
    return rebuild(folder)


def _trainer(cfg: "DictConfig") -> Any:
    import lightning

    from finetune import precision

    return lightning.Trainer(
        devices=1,
        precision=precision.resolve(cfg.trainer.precision, accelerator="auto"),  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


def _read_rows(arguments: argparse.Namespace, columns: list[str]) -> dict[str, list[Any]]:
    """Return the texts to label, a list a text column."""
    from finetune.data.readers import read_table, table_format
    from finetune.data.text_files import read_lines

    if arguments.text:
        texts = [arguments.text] + ([arguments.text_pair] if arguments.text_pair else [])
        if len(texts) != len(columns) or len({len(column) for column in texts}) != 1:
            wanted = "--text alone" if len(columns) == 1 else "a --text-pair for each --text"
            raise UserError(f"This run reads the column(s) {', '.join(columns)}: give {wanted}.")
        for text in [text for column in texts for text in column]:
            if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
                raise UserError(f"--text {text!r:.80}: not UTF-8. Write it in a file, and give --file.")
        return dict(zip(columns, texts, strict=True))
    if not arguments.file.is_file():
        raise UserError(f"There is no file {arguments.file}.")
    if table_format(arguments.file) is not None:
        table = read_table(arguments.file)
        if any("." in column for column in columns):
            table = table.flatten()
        for column in columns:
            if column not in table.column_names:
                raise UserError(
                    f"{arguments.file}: there is no column {column!r}. {nearest(column, table.column_names)}"
                )
        return {column: list(table[column]) for column in columns}
    if len(columns) != 1:
        raise UserError(
            f"{arguments.file}: this run reads pairs of texts: give a table with {', '.join(columns)}."
        )
    return {columns[0]: read_lines(arguments.file)}


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Write lines to the screen, or to a file that appears only when it is whole."""
    if path is None:
        yield print
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield lambda line: print(line, file=file)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
