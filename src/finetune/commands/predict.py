"""``finetune predict``: label texts, answer questions, write replies."""

import argparse
import json
from pathlib import Path
from typing import Any

from finetune.commands import Commands
from finetune.commands.finished import inference_trainer, load
from finetune.commands.output import output
from finetune.commands.texts import add_text, add_text_pair, given_texts
from finetune.errors import UserError, nearest


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("predict", help="label texts; one JSON object a line")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    add_text(source)
    source.add_argument(
        "--file", type=Path, help="CSV, TSV, JSON, JSONL or Parquet with the run's columns, or plain lines"
    )
    add_text_pair(parser)
    parser.add_argument("--out", type=Path, help="write here instead of the screen")
    parser.add_argument("--batch-size", type=int, default=32, help="texts at a time (default: 32)")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from datasets import Dataset
    from torch.utils.data import DataLoader

    cfg, task, preprocessor = load(arguments.run)
    columns = preprocessor.input_columns
    rows = _read_rows(arguments, columns)
    prepared = preprocessor.prepare(Dataset.from_dict(rows), split="given", labelled=False)
    features = prepared.map(
        preprocessor, batched=True, fn_kwargs={"training": False}, remove_columns=prepared.column_names
    )
    loader = DataLoader(features, batch_size=arguments.batch_size, collate_fn=preprocessor.collate)
    with output(arguments.out) as write:
        index = 0
        for batch in inference_trainer(cfg).predict(task, loader) or []:
            for prediction in batch:
                texts = {column: rows[column][index] for column in columns}
                write(json.dumps({**texts, **prediction}, ensure_ascii=False, default=str))
                index += 1


def _read_rows(arguments: argparse.Namespace, columns: list[str]) -> dict[str, list[Any]]:
    """Return the texts to label, a list a text column."""
    from finetune.data.readers import read_table, table_format
    from finetune.data.text_files import read_lines

    if arguments.text:
        return given_texts(arguments, columns)
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
