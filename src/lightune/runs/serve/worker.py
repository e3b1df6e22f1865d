"""One thread that owns the model: what is asked at the same time is computed together."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

Row = tuple[str, ...]
"""The texts of one prediction, as many as the run has columns."""

CHARACTERS_AT_A_TIME = 2**17  # of a batch, padded: what it takes of memory does not grow with what is asked


class FullError(Exception):
    """Too much is waiting."""


@dataclass(eq=False)
class _Job:
    row: Row | None
    work: Callable[[], Any] | None
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def length(self) -> int:
        return sum(map(len, self.row or ()))


class Worker:
    """Predict in batches, and do other work alone, in the order in which it was asked for.

    A batch begins with the row that has waited longest; those of the nearest length join it.

    Args:
        predict: returns a prediction a row.
        max_batch_size: rows of a batch.
        max_wait: seconds that a row waits for others while nothing else is done.
        max_waiting: rows and other work that may wait.
        computed: is told the number of rows of each batch.
    """

    def __init__(
        self,
        predict: Callable[[list[Row]], Sequence[Any]],
        *,
        max_batch_size: int,
        max_wait: float,
        max_waiting: int,
        computed: Callable[[int], None],
    ) -> None:
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._max_wait = max_wait
        self._max_waiting = max_waiting
        self._computed = computed
        self._waiting: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How much waits."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def predict(self, rows: Sequence[Row]) -> list[Future[Any]]:
        """Have rows predicted, all or none.

        Raises:
            FullError: too much is waiting.
        """
        return self._add([_Job(row, None) for row in rows])

    def alone(self, work: Callable[[], Any]) -> Future[Any]:
        """Have something done while nothing else uses the model.

        Raises:
            FullError: too much is waiting.
        """
        return self._add([_Job(None, work)])[0]

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, jobs: list[_Job]) -> list[Future[Any]]:
        with self._changed:
            if self._closed or len(self._waiting) + len(jobs) > self._max_waiting:
                raise FullError
            self._waiting += jobs
            self._changed.notify()
        return [job.future for job in jobs]

    def _loop(self) -> None:
        while jobs := self._next():
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                _answer(running, self._predict)
                if running[0].row is not None:
                    self._computed(len(running))

    def _next(self) -> list[_Job]:
        """Wait for work; nothing where there is none and there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting[0]
            if first.row is not None:
                rest = first.since + self._max_wait - time.monotonic()
                self._changed.wait_for(lambda: self._closed or self._enough(), timeout=max(0.0, rest))
            jobs = self._together()
            self._waiting = [job for job in self._waiting if job not in jobs]
            return jobs

    def _enough(self) -> bool:
        return len(self._waiting) >= self._max_batch_size

    def _together(self) -> list[_Job]:
        first = self._waiting[0]
        if first.row is None:
            return [first]
        rows = [job for job in self._waiting if job.row is not None]
        rows.sort(key=lambda job: abs(job.length - first.length))  # stable: first stays first
        batch, longest = [first], first.length
        for job in rows[1 : self._max_batch_size]:
            longest = max(longest, job.length)
            if longest * (len(batch) + 1) > CHARACTERS_AT_A_TIME:
                break
            batch.append(job)
        return batch


def _answer(jobs: list[_Job], predict: Callable[[list[Row]], Sequence[Any]]) -> None:
    """Compute jobs that belong together; where that fails, one by one, so that only what is at fault fails."""
    try:
        if jobs[0].work is not None:
            results: Sequence[Any] = [jobs[0].work()]
        else:
            results = predict([job.row for job in jobs if job.row is not None])
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
        else:
            for job in jobs:
                _answer([job], predict)
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
