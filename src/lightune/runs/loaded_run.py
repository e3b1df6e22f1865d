"""A finished run in Python: its parts, and its predictions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from lightune.common.errors import UserError, listed
from lightune.common.quiet import quiet
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.sources.stream import InputRow, Line, RejectedRow
from lightune.models import cpu
from lightune.runs.inference import Predictor
from lightune.runs.load_run import rebuild
from lightune.runs.predict import SMALL_CHUNK, predict
from lightune.tasks import Task


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A finished run's configuration (OmegaConf's), its task with the best weights, and its preprocessor."""

    cfg: Any
    task: Task
    preprocessor: Preprocessor

    def predict(self, rows: Iterable[Any], *, batch_size: int = 32) -> list[dict[str, Any]]:
        """Return for each row what a line of ``lightune predict RUN --text …`` holds: its inputs and the prediction.

        Args:
            rows: texts (or lists of words, or of turns); of a run with several input columns tuples in the order of
                ``preprocessor.input_columns``; or dicts by column name, whose other values are kept.
            batch_size: rows in a batch.

        Raises:
            UserError: a row lacks a column, or the task cannot read it.
        """
        if isinstance(rows, str | Mapping) or hasattr(rows, "columns"):
            raise UserError(f"predict got one {type(rows).__name__}: expected a list of rows, such as ['A text.'].")
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: expected 1 or more.")
        chunk_rows = batch_size * SMALL_CHUNK
        chunks = predict(self._predictor, self._numbered(rows), batch_size=batch_size, chunk_rows=chunk_rows)
        predictions = []
        for row in chain.from_iterable(chunks):
            if isinstance(row, RejectedRow):
                raise UserError(f"Row {row.line}, {row.raw!r:.80}: {row.reason}")
            predictions.append(row.values)
        return predictions

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.task, self.preprocessor, precision=self.cfg.trainer.precision, few_widths=True)

    def _numbered(self, rows: Iterable[Any]) -> Iterator[InputRow | RejectedRow]:
        columns = self.preprocessor.input_columns
        for number, row in enumerate(rows, start=1):
            if isinstance(row, Mapping):
                values = dict(row)
            else:
                is_several = isinstance(row, tuple) or (isinstance(row, list) and len(columns) > 1)
                given = row if is_several else (row,)
                values = dict(zip(columns, given, strict=True)) if len(given) == len(columns) else {}
            if not values.keys() >= {*columns}:
                raise UserError(f"Row {number}, {row!r:.80}: this run reads the column(s) {listed(columns)}.")
            text = str(row).encode(errors="backslashreplace").decode()
            read = Line(number, text, 0.0).row({name: values[name] for name in columns})
            yield replace(read, values=values) if isinstance(read, InputRow) else read


def load(run: str | Path) -> LoadedRun:
    """Load a finished run, ready to predict.

    Args:
        run: its folder.

    Raises:
        UserError: this is not the folder of a finished run, or what it needs cannot be loaded.
    """
    quiet()
    cpu.speed_up()
    return LoadedRun(*rebuild(Path(run).expanduser()))
