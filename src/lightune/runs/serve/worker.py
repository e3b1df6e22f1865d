"""One thread that owns the model: rows that arrive at the same time are predicted in one batch."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

Row = tuple[str, ...]
"""The texts of one prediction, one for each of the run's columns."""

# of a padded batch: its memory does not grow with what clients send
MAX_CHARACTERS = 2**17


class FullError(Exception):
    """The queue is full."""


@dataclass(eq=False)
class _Job:
    """A row to predict, or a function to call."""

    row: Row | None = None
    function: Callable[[], Any] | None = None
    future: Future[Any] = field(default_factory=Future)
    start: float = field(default_factory=time.monotonic)

    @property
    def length(self) -> int:
        return sum(map(len, self.row or ()))


@dataclass(eq=False)
class Worker:
    """Predict rows in batches and call functions one at a time, oldest first.

    A batch starts with the row that has waited longest; rows of the most similar length join it. While the model is
    idle a row waits ``max_wait`` seconds for others; ``max_waiting`` rows and functions may wait. ``compute`` returns a
    prediction for each row, and ``on_batch`` is called with the number of rows of each batch.
    """

    compute: Callable[[list[Row]], Sequence[Any]]
    _: KW_ONLY
    max_batch_size: int
    max_wait: float
    max_waiting: int
    on_batch: Callable[[int], None]

    def __post_init__(self) -> None:
        self._queue: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of rows and functions in the queue."""
        return len(self._queue)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def predict(self, rows: Sequence[Row]) -> list[Future[Any]]:
        """Queue rows, or raise a FullError if there is no room for all of them."""
        return self._add([_Job(row=row) for row in rows])

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Queue a function, or raise a FullError; nothing else uses the model while it runs."""
        return self._add([_Job(function=function)])[0]

    def close(self) -> None:
        """Finish the queue and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, jobs: list[_Job]) -> list[Future[Any]]:
        with self._changed:
            if self._closed or len(self._queue) + len(jobs) > self.max_waiting:
                raise FullError
            self._queue += jobs
            self._changed.notify()
        return [job.future for job in jobs]

    def _loop(self) -> None:
        while jobs := self._next():
            if running := [job for job in jobs if job.future.set_running_or_notify_cancel()]:
                self._run(running)
                if running[0].row is not None:
                    self.on_batch(len(running))

    def _next(self) -> list[_Job]:
        """Wait for jobs that run together; return none once the worker is closed and the queue empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return []
            first = self._queue[0]
            if first.row is not None:
                remaining = max(0.0, first.start + self.max_wait - time.monotonic())
                self._changed.wait_for(lambda: self._closed or len(self._queue) >= self.max_batch_size, remaining)
            jobs = self._batch(first)
            self._queue = [job for job in self._queue if job not in jobs]
            return jobs

    def _batch(self, first: _Job) -> list[_Job]:
        if first.row is None:
            return [first]
        rows = [job for job in self._queue if job.row is not None]
        # a stable sort: the first job stays first
        rows.sort(key=lambda job: abs(job.length - first.length))
        batch, longest = [first], first.length
        for job in rows[1 : self.max_batch_size]:
            longest = max(longest, job.length)
            if longest * (len(batch) + 1) > MAX_CHARACTERS:
                break
            batch.append(job)
        return batch

    def _run(self, jobs: list[_Job]) -> None:
        """Run jobs together, or one by one where that fails, so that only the faulty ones fail."""
        try:
            if jobs[0].function is not None:
                results: Sequence[Any] = [jobs[0].function()]
            else:
                results = self.compute([job.row for job in jobs if job.row is not None])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._run([job])
            return
        for job, result in zip(jobs, results, strict=True):
            job.future.set_result(result)
