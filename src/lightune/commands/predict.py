"""``lightune predict``: label texts, answer questions, write replies."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightune.commands import Commands
from lightune.commands.bar import progress_bar
from lightune.commands.open_run import load
from lightune.commands.output import output
from lightune.commands.texts import add_text, add_text_pair, given_texts
from lightune.common.errors import UserError

if TYPE_CHECKING:
    from lightune.data.sources.stream import InputRow, RejectedRow

    Chunks = Callable[[Iterator[InputRow | RejectedRow]], Iterator[list[InputRow | RejectedRow]]]

CHUNK = 64  # batches whose rows are sorted by length together
SOON = 8  # the same where each takes seconds, or somebody waits at the screen


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
    parser.add_argument(
        "--out",
        type=Path,
        help="write here instead of the screen; of a --file, the same command goes on where it was stopped",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="texts at a time (default: 32)")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: expected 1 or more.")
    if arguments.file is not None and not arguments.file.is_file():
        raise UserError(f"There is no file {arguments.file}.")
    if arguments.out is not None and not arguments.out.absolute().parent.is_dir():
        raise UserError(f"--out {arguments.out}: there is no folder {arguments.out.parent}.")
    cfg, task, preprocessor = load(arguments.run)

    from lightune.data.sources.stream_files import stream_rows
    from lightune.models.precision import resolve
    from lightune.runs.predict import predict

    chunks = partial(
        predict,
        task,
        preprocessor,
        precision=resolve(cfg.trainer.precision, accelerator="auto"),
        batch_size=arguments.batch_size,
        chunk_rows=arguments.batch_size * (SOON if arguments.out is None or task.language_model else CHUNK),
    )
    if arguments.text:
        _given(given_texts(arguments, preprocessor.input_columns), chunks, out=arguments.out)
        return
    rows = stream_rows(arguments.file, preprocessor.input_columns)
    on_same_screen = arguments.out is None and sys.stdout.isatty()
    with progress_bar(shown=sys.stderr.isatty() and not on_same_screen) as on_batch:
        if arguments.out is None:
            _to_screen(arguments.file, chunks(rows, on_batch=on_batch))
        else:
            _to_file(arguments, rows, partial(chunks, on_batch=on_batch))


def _given(texts: dict[str, list[str]], chunks: "Chunks", *, out: Path | None) -> None:
    from lightune.data.sources.stream import InputRow, RejectedRow

    rows = [
        InputRow(line=number, raw=row[0], values=dict(zip(texts, row, strict=True)))
        for number, row in enumerate(zip(*texts.values(), strict=True), start=1)
    ]
    with output(out) as write:
        for found in chain.from_iterable(chunks(iter(rows))):
            if isinstance(found, RejectedRow):
                raise UserError(f"--text {found.raw!r:.80}: {found.reason}")
            write(_line(found))


def _to_screen(file: Path, chunks: "Iterator[list[InputRow | RejectedRow]]") -> None:
    from lightune.data.sources.stream import InputRow

    labelled = rejected = 0
    try:
        for found in chain.from_iterable(chunks):
            if isinstance(found, InputRow):
                labelled += 1
                print(_line(found), flush=True)
            else:
                rejected += 1
                print(f"rejected: line {found.line}: {found.reason}: {found.raw!r:.100}", file=sys.stderr)
    except BrokenPipeError:  # whoever reads has had enough: | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    _tell(file, labelled, rejected)


def _to_file(
    arguments: argparse.Namespace,
    rows: "Iterator[InputRow | RejectedRow]",
    chunks: "Chunks",
) -> None:
    from lightune.data.sources.stream import InputRow
    from lightune.runs.resumable_output import ResumableOutput
    from lightune.runs.run import Run

    made_of = {"input": _identity(arguments.file), "checkpoint": _identity(Run(arguments.run).best)}
    unfinished = ResumableOutput(arguments.out, made_of=made_of)
    try:
        if unfinished.rows:
            print(f"{arguments.out}: going on behind {unfinished.rows:,} rows", file=sys.stderr)
        for chunk in chunks(islice(rows, unfinished.rows, None)):
            unfinished.append(
                [_line(found) for found in chunk if isinstance(found, InputRow)],
                [_rejection(found) for found in chunk if not isinstance(found, InputRow)],
            )
        unfinished.finish()
    except KeyboardInterrupt:
        print(f"stopped behind {unfinished.rows:,} rows; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        unfinished.close()
    state = unfinished.state
    _tell(arguments.file, state["labelled"], state["rejected"], out=arguments.out, why=unfinished.rejected)


def _line(row: "InputRow") -> str:
    return json.dumps(row.values, ensure_ascii=False, default=str)


def _rejection(found: "RejectedRow") -> str:
    return json.dumps({"line": found.line, "reason": found.reason, "raw": found.raw}, ensure_ascii=False)


def _identity(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()} ({stat.st_size} bytes, {stat.st_mtime_ns})"


def _tell(
    file: Path, labelled: int, rejected: int, *, out: Path | None = None, why: Path | None = None
) -> None:
    """Say how many rows there were, and where they are.

    Raises:
        UserError: none could be labelled.
    """
    if labelled + rejected == 0:
        raise UserError(f"{file}: there are no rows.")
    where = f": {why}" if why is not None else ", see above"
    if labelled == 0:
        raise UserError(f"{file}: none of {rejected:,} rows could be labelled{where}")
    told = f"{labelled:,} rows labelled" + (f": {out}" if out is not None else "")
    print(f"warning: {told}; {rejected:,} rejected{where}" if rejected else told, file=sys.stderr)
