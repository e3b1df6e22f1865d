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
from lightune.commands.output import check_out, progress_bar
from lightune.commands.text_arguments import add_text, add_text_pair, text_rows
from lightune.common.errors import UserError
from lightune.runs.members import runs_of

if TYPE_CHECKING:
    from lightune.data.sources.stream import InputRow, RejectedRow
    from lightune.runs.resumable_output import ResumableOutput

    Rows = Iterator[InputRow | RejectedRow]
    Chunks = Iterator[list[InputRow | RejectedRow]]
    Predict = Callable[[Rows], Chunks]

STDIN = Path("-")
as_json = partial(json.dumps, ensure_ascii=False, default=str)
# batches in a chunk, whose rows are sorted by length
CHUNK = 64


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("predict", help="label texts; one JSON object a line")
    usage = "a run's folder; several, or a sweep's for its best group, answer together"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=usage)
    source = parser.add_mutually_exclusive_group()
    usage = "standard input, which a pipe need not name: a text a line, or a JSON object a line with the run's columns"
    source.add_argument("-", action="store_const", const=STDIN, dest="file", help=usage)
    add_text(source)
    source.add_argument("--file", type=Path, help="CSV, TSV, JSON, JSONL or Parquet with the run's columns, or lines")
    add_text_pair(parser)
    usage = "write .jsonl, .csv, .tsv or .parquet, not the screen; after a stop, the same command resumes a --file"
    parser.add_argument("--out", type=Path, help=usage)
    parser.add_argument("--batch-size", type=int, default=32, help="texts in a batch (default: 32)")
    usage = "of one label a text: null, and abstained is true, where its score is lower"
    parser.add_argument("--min-score", type=float, metavar="P", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from lightune.runs.prediction_table import TABLES

    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: expected 1 or more.")
    if arguments.min_score is not None and not 0 <= arguments.min_score <= 1:
        raise UserError(f"--min-score {arguments.min_score:g}: expected a probability, 0 to 1.")
    if not (arguments.text or arguments.file) and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError("Which texts? Give --text TEXT or --file FILE, or - for standard input.")
    if arguments.file == STDIN:
        arguments.file = None
    if arguments.file is not None and not arguments.file.is_file():
        raise UserError(f"There is no file {arguments.file}.")
    check_out(arguments.out, endings=(".jsonl", ".json", *TABLES))
    arguments.runs = runs_of(arguments.runs)
    cfg, task, preprocessor = load(*arguments.runs)

    from lightune.data.preprocessors.labels import SINGLE
    from lightune.data.sources.stream import read_rows
    from lightune.data.sources.stream_files import stream_rows, stream_standard_input
    from lightune.runs.inference import Predictor
    from lightune.runs.predict import SMALL_CHUNK, predict
    from lightune.tasks import TextClassification

    if arguments.min_score is not None:
        if not isinstance(task, TextClassification) or task.problem_type != SINGLE:
            kind = getattr(task, "problem_type", cfg.task_name)
            raise UserError(
                f"--min-score is for text classification, one label a text. This run is {kind}: leave it out."
            )
        task.min_score = arguments.min_score
    columns = preprocessor.input_columns
    chunk = SMALL_CHUNK if arguments.out is None or task.language_model else CHUNK
    if arguments.file is not None:
        rows: Rows = stream_rows(arguments.file, columns)
    elif arguments.text:
        rows = read_rows([row if len(row) > 1 else row[0] for row in text_rows(arguments, columns)], columns)
    else:
        rows = stream_standard_input(sys.stdin.buffer, columns)  # type: ignore[arg-type]
        # whoever writes the texts may wait for the labels
        chunk = 1 if arguments.out is None else chunk
    is_seen = arguments.file is not None and sys.stderr.isatty() and not (arguments.out is None and sys.stdout.isatty())
    with progress_bar(visible=is_seen) as on_batch:
        predict_rows = partial(
            predict,
            Predictor(task, preprocessor, precision=cfg.trainer.precision, few_widths=True),
            batch_size=arguments.batch_size,
            chunk_rows=arguments.batch_size * chunk,
            on_batch=on_batch,
            warn=partial(print, file=sys.stderr),
        )
        (_to_screen if arguments.out is None else _to_file)(arguments, _count_blank(rows, columns), predict_rows)


def _count_blank(rows: "Rows", columns: list[str]) -> "Rows":
    """Pass the rows on; after the last, warn of blank texts."""
    from lightune.data.sources.stream import InputRow

    first, total = 0, 0
    for row in rows:
        if isinstance(row, InputRow) and not all(str(row.values[column]).strip() for column in columns):
            first, total = first or row.line, total + 1
        yield row
    if total:
        print(f"warning: {total:,} of the rows have a blank text, the first in line {first}", file=sys.stderr)


def _count_abstained(chunks: "Chunks", min_score: float | None) -> "Chunks":
    """Pass the chunks on; after the last, say how many of their rows have no label."""
    abstained = total = 0
    for chunk in chunks:
        found = [row.values for row in chunk if not hasattr(row, "reason")]
        abstained, total = abstained + sum(values.get("abstained") is True for values in found), total + len(found)
        yield chunk
    if min_score is not None:
        print(f"{abstained:,} of {total:,} rows abstained: their score is below {min_score:g}", file=sys.stderr)


def _to_screen(arguments: argparse.Namespace, rows: "Rows", predict_rows: "Predict") -> None:
    from lightune.data.sources.stream import InputRow

    labelled = rejected = 0
    # a terminal or a pipe that is not UTF-8 gets the escapes of JSON
    is_ascii = not sys.stdout.encoding.lower().startswith("utf")
    try:
        for row in chain.from_iterable(_count_abstained(predict_rows(rows), arguments.min_score)):
            if isinstance(row, InputRow):
                labelled += 1
                print(as_json(row.values, ensure_ascii=is_ascii), flush=True)
            else:
                rejected += 1
                print(f"rejected: line {row.line}: {row.reason}: {row.raw!r:.100}", file=sys.stderr)
    except BrokenPipeError:
        # the reader has stopped, as in | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    _report(arguments, labelled, rejected)


def _to_file(arguments: argparse.Namespace, rows: "Rows", predict_rows: "Predict") -> None:
    from lightune.data.sources.stream import InputRow, RejectedRow
    from lightune.runs.resumable_output import ResumableOutput
    from lightune.runs.run_folder import Run

    source, fix = f"{_source(arguments)} of process {os.getpid()}", f"they are in {arguments.out}.part"
    if arguments.file is not None:
        source, fix = _identity(arguments.file), "the same command resumes"
    best = ", ".join(_identity(Run(run).best) for run in arguments.runs)
    made_from = {"input": source, "checkpoint": best, "--min-score": arguments.min_score}
    out = ResumableOutput(arguments.out, made_from=made_from)
    try:
        if out.rows:
            print(f"{arguments.out}: resuming after {out.rows:,} rows", file=sys.stderr)
        for chunk in _count_abstained(predict_rows(islice(rows, out.rows, None)), arguments.min_score):
            good = [as_json(row.values) for row in chunk if isinstance(row, InputRow)]
            bad = [row for row in chunk if isinstance(row, RejectedRow)]
            out.append(good, [as_json({"line": row.line, "reason": row.reason, "raw": row.raw}) for row in bad])
        out.finish()
    except KeyboardInterrupt:
        print(f"stopped after {out.rows:,} rows; {fix}", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        out.close()
    _report(arguments, out.state["labelled"], out.state["rejected"], out=out)


def _source(arguments: argparse.Namespace) -> str:
    return str(arguments.file or ("--text" if arguments.text else "standard input"))


def _identity(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()} ({stat.st_size} bytes, {stat.st_mtime_ns})"


def _report(arguments: argparse.Namespace, labelled: int, rejected: int, out: "ResumableOutput | None" = None) -> None:
    """Print how many rows were labelled; raise a UserError if none was, or not all that the command line holds."""
    source = _source(arguments)
    if labelled + rejected == 0:
        raise UserError(f"{source}: there are no rows.")
    where = ", see above" if out is None else f": {out.rejected_path}"
    if labelled == 0 or (arguments.text and rejected):
        raise UserError(f"{source}: {labelled or 'none'} of {labelled + rejected:,} rows could be labelled{where}")
    summary = f"{labelled:,} rows labelled" + ("" if out is None else f": {out.path}")
    print(f"warning: {summary}; {rejected:,} rejected{where}" if rejected else summary, file=sys.stderr)
