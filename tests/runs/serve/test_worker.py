"""The thread that owns the model: batches of rows that arrive at the same time."""

import threading
from collections.abc import Callable

import pytest

from lightune.runs.serve.worker import MAX_CHARACTERS, FullError, Row, Worker


class Held:
    """A worker whose first function waits for ``go``, so that later rows wait together."""

    def __init__(self, predict: Callable[[list[Row]], list], **settings):
        self.batches: list[list[str]] = []
        self.go = threading.Event()

        def recorded(rows: list[Row]) -> list:
            self.batches.append([row[0] for row in rows])
            return predict(rows)

        settings = {
            "max_batch_size": 4,
            "max_wait": 0.0,
            "max_waiting": 100,
            "on_batch": lambda rows: None,
        } | settings
        self.worker = Worker(recorded, **settings)
        started = threading.Event()
        self.first = self.worker.submit(lambda: (started.set(), self.go.wait(10)))
        assert started.wait(10)


def upper(rows: list[Row]) -> list[str]:
    return [row[0].upper() for row in rows]


def test_rows_that_wait_together_are_one_batch_and_each_gets_its_own_result():
    held = Held(upper)
    futures = held.worker.predict([(letter,) for letter in "abcdef"])
    held.go.set()
    assert [future.result(10) for future in futures] == list("ABCDEF")
    assert held.batches == [["a", "b", "c", "d"], ["e", "f"]]
    held.worker.close()


def test_the_oldest_row_comes_first_with_those_of_similar_length():
    held = Held(upper, max_batch_size=2)
    futures = held.worker.predict([("a" * 9,), ("b",), ("c" * 8,), ("d" * 2,)])
    held.go.set()
    assert [future.result(10)[0] for future in futures] == list("ABCD")
    assert held.batches == [["a" * 9, "c" * 8], ["b", "dd"]]
    held.worker.close()


def test_long_texts_make_small_batches():
    held = Held(upper)
    long = "a" * (MAX_CHARACTERS // 2)
    futures = held.worker.predict([(long,)] * 3)
    held.go.set()
    assert all(future.result(10) for future in futures)
    assert [len(batch) for batch in held.batches] == [2, 1]
    held.worker.close()


def test_a_row_that_fails_fails_alone():
    def picky(rows: list[Row]) -> list[str]:
        if ("bad",) in rows:
            raise ValueError("bad")
        return upper(rows)

    held = Held(picky)
    good, bad, other = held.worker.predict([("good",), ("bad",), ("else",)])
    held.go.set()
    assert (good.result(10), other.result(10)) == ("GOOD", "ELSE")
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)
    assert held.worker.alive
    held.worker.close()


def test_a_lone_row_waits_only_so_long():
    worker = Worker(upper, max_batch_size=4, max_wait=0.01, max_waiting=9, on_batch=lambda rows: None)
    assert worker.predict([("a",)])[0].result(10) == "A"
    worker.close()


def test_cancelled_rows_are_left_out():
    held = Held(upper)
    gone, kept = held.worker.predict([("gone",), ("kept",)])
    assert gone.cancel()
    held.go.set()
    assert kept.result(10) == "KEPT"
    assert held.batches == [["kept"]]
    held.worker.close()


def test_rows_are_refused_all_or_none_and_closing_finishes_the_queue():
    held = Held(upper, max_waiting=2)
    with pytest.raises(FullError):
        held.worker.predict([("a",), ("b",), ("c",)])
    assert held.worker.waiting == 0
    futures = held.worker.predict([("a",), ("b",)])
    threading.Timer(0.05, held.go.set).start()
    held.worker.close()
    assert [future.result(0) for future in futures] == ["A", "B"]
    with pytest.raises(FullError):
        held.worker.predict([("late",)])
