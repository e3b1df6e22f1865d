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
from lightune.commands.open_run import load
from lightune.commands.output import check_out, output, progress_bar
from lightune.commands.text_arguments import add_text, add_text_pair, text_rows
from lightune.common.errors import UserError

if TYPE_CHECKING:
    from lightune.data.sources.stream import InputRow, RejectedRow
    from lightune.runs.resumable_output import ResumableOutput

    Chunks = Iterator[list[InputRow | RejectedRow]]
    Predict = Callable[[Iterator[InputRow | RejectedRow]], Chunks]

# batches in a chunk, whose rows are sorted by length
CHUNK = 64


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("predict", help="label texts; one JSON object a line")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    add_text(source)
    usage = "CSV, TSV, JSON, JSONL or Parquet with the run's columns, or plain lines"
    source.add_argument("--file", type=Path, help=usage)
    add_text_pair(parser)
    usage = "write here instead of the screen; after a stop, the same command resumes the prediction of a --file"
    parser.add_argument("--out", type=Path, help=usage)
    parser.add_argument("--batch-size", type=int, default=32, help="texts in a batch (default: 32)")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: expected 1 or more.")
    if arguments.file is not None and not arguments.file.is_file():
        raise UserError(f"There is no file {arguments.file}.")
    check_out(arguments.out)
    cfg, task, preprocessor = load(arguments.run)

    from lightune.data.sources.stream_files import stream_rows
    from lightune.runs.inference import Predictor
    from lightune.runs.predict import SMALL_CHUNK, predict

    chunk = SMALL_CHUNK if arguments.out is None or task.language_model else CHUNK
    predict_rows = partial(
        predict,
        Predictor(task, preprocessor, precision=cfg.trainer.precision, few_widths=True),
        batch_size=arguments.batch_size,
        chunk_rows=arguments.batch_size * chunk,
    )
    columns = preprocessor.input_columns
    if arguments.text:
        _predict_texts(text_rows(arguments, columns), columns, predict_rows, out=arguments.out)
        return
    rows = _count_blank(stream_rows(arguments.file, columns), columns)
    on_same_screen = arguments.out is None and sys.stdout.isatty()
    with progress_bar(visible=sys.stderr.isatty() and not on_same_screen) as on_batch:
        if arguments.out is None:
            _to_screen(arguments.file, predict_rows(rows, on_batch=on_batch))
        else:
            _to_file(arguments, rows, partial(predict_rows, on_batch=on_batch))


def _predict_texts(
    texts: list[tuple[str, ...]], columns: list[str], predict_rows: "Predict", *, out: Path | None
) -> None:
    from lightune.data.sources.stream import InputRow, RejectedRow

    rows = (
        InputRow(line=number, raw=row[0], values=dict(zip(columns, row, strict=True)))
        for number, row in enumerate(texts, start=1)
    )
    with output(out) as write:
        for row in chain.from_iterable(predict_rows(_count_blank(rows, columns))):
            if isinstance(row, RejectedRow):
                raise UserError(f"--text {row.raw!r:.80}: {row.reason}")
            write(_prediction_line(row, to_file=out is not None))


def _count_blank(rows: "Iterator[InputRow | RejectedRow]", columns: list[str]) -> "Iterator[InputRow | RejectedRow]":
    """Pass the rows on; after the last, warn of blank texts."""
    from lightune.data.sources.stream import InputRow

    first, total = 0, 0
    for row in rows:
        if isinstance(row, InputRow) and not all(str(row.values[column]).strip() for column in columns):
            first, total = first or row.line, total + 1
        yield row
    if total:
        print(f"warning: {total:,} of the rows have a blank text, the first in line {first}", file=sys.stderr)


def _to_screen(file: Path, chunks: "Chunks") -> None:
    from lightune.data.sources.stream import InputRow

    labelled = rejected = 0
    try:
        for row in chain.from_iterable(chunks):
            if isinstance(row, InputRow):
                labelled += 1
                print(_prediction_line(row, to_file=False), flush=True)
            else:
                rejected += 1
                print(f"rejected: line {row.line}: {row.reason}: {row.raw!r:.100}", file=sys.stderr)
    except BrokenPipeError:
        # the reader has stopped, as in | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    _report(file, labelled, rejected)


def _to_file(arguments: argparse.Namespace, rows: "Iterator[InputRow | RejectedRow]", predict_rows: "Predict") -> None:
    from lightune.data.sources.stream import InputRow
    from lightune.runs.resumable_output import ResumableOutput
    from lightune.runs.run_folder import Run

    made_from = {"input": _identity(arguments.file), "checkpoint": _identity(Run(arguments.run).best)}
    out = ResumableOutput(arguments.out, made_from=made_from)
    try:
        if out.rows:
            print(f"{arguments.out}: resuming after {out.rows:,} rows", file=sys.stderr)
        for chunk in predict_rows(islice(rows, out.rows, None)):
            out.append(
                [_prediction_line(row) for row in chunk if isinstance(row, InputRow)],
                [_rejection_line(row) for row in chunk if not isinstance(row, InputRow)],
            )
        out.finish()
    except KeyboardInterrupt:
        print(f"stopped after {out.rows:,} rows; the same command resumes", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        out.close()
    _report(arguments.file, out.state["labelled"], out.state["rejected"], out=out)


def _prediction_line(row: "InputRow", *, to_file: bool = True) -> str:
    # files are UTF-8; a terminal or a pipe that is not gets JSON's escapes
    is_utf8 = to_file or sys.stdout.encoding.lower().startswith("utf")
    return json.dumps(row.values, ensure_ascii=not is_utf8, default=str)


def _rejection_line(row: "RejectedRow") -> str:
    return json.dumps({"line": row.line, "reason": row.reason, "raw": row.raw}, ensure_ascii=False)


def _identity(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()} ({stat.st_size} bytes, {stat.st_mtime_ns})"


def _report(file: Path, labelled: int, rejected: int, *, out: "ResumableOutput | None" = None) -> None:
    """Print how many rows were labelled and rejected, and where they are.

    Raises:
        UserError: no row was labelled.
    """
    if labelled + rejected == 0:
        raise UserError(f"{file}: there are no rows.")
    where = ", see above" if out is None else f": {out.rejected_path}"
    if labelled == 0:
        raise UserError(f"{file}: none of {rejected:,} rows could be labelled{where}")
    summary = f"{labelled:,} rows labelled" + ("" if out is None else f": {out.path}")
    print(f"warning: {summary}; {rejected:,} rejected{where}" if rejected else summary, file=sys.stderr)
