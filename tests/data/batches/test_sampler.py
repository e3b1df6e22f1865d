from itertools import chain, islice, permutations

import numpy as np
import pytest

from lightune.data.batches.sampler import FillerBatch, LengthGroupedBatches, held_out_batches

LENGTHS = np.random.default_rng(0).integers(3, 200, size=1003)
BUDGET = 8 * 200


def batches(**settings: object) -> LengthGroupedBatches:
    default = {"lengths": LENGTHS, "batch_size": 8, "max_tokens": None, "seed": 0}
    return LengthGroupedBatches(**{**default, **settings})


def efficiency(epoch: list[list[int]], lengths: np.ndarray = LENGTHS) -> float:
    return lengths.sum() / sum(lengths[batch].max() * len(batch) for batch in epoch)


@pytest.mark.parametrize("max_tokens", [None, BUDGET])
def test_every_row_comes_once_an_epoch(max_tokens: int | None):
    epoch = list(batches(max_tokens=max_tokens))
    assert sorted(chain.from_iterable(epoch)) == list(range(1003))
    assert len(epoch) == len(batches(max_tokens=max_tokens))


def test_a_balanced_epoch_has_equally_many_rows_of_each_class_and_other_rows_than_the_last():
    classes = np.repeat([0, 1, 2], [900, 100, 3])
    balanced = batches(classes=classes)
    first = list(balanced)
    balanced.set_epoch(1)
    rows, later = (np.concatenate(epoch) for epoch in (first, list(balanced)))
    assert np.bincount(classes[rows]).tolist() == [335, 334, 334]
    assert len(first) == len(batches())
    # of a frequent class each comes once or not at all, of rare ones all come equally often
    assert np.bincount(rows, minlength=1003)[:900].max() == 1
    assert {*np.bincount(rows, minlength=1003)[900:1000]} == {3, 4}
    assert {*rows[classes[rows] == 0]} != {*later[classes[later] == 0]}
    assert np.concatenate(list(batches(classes=classes, start=20))).tolist() == np.concatenate(first[20:]).tolist()


@pytest.mark.parametrize("max_tokens", [None, BUDGET])
def test_epochs_differ_and_repeat_by_seed(max_tokens: int | None):
    one, other = (batches(max_tokens=max_tokens) for _ in range(2))
    first = list(one)
    assert first == list(other)
    one.set_epoch(1)
    second = list(one)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}  # not in order alone
    assert len(first) == len(second) == len(one)
    assert first != list(batches(max_tokens=max_tokens, seed=1))


@pytest.mark.parametrize("max_tokens", [None, BUDGET])
def test_little_is_computed_on_padding(max_tokens: int | None):
    order = np.random.default_rng(1).permutation(1003).tolist()
    assert efficiency([order[i : i + 8] for i in range(0, 1003, 8)]) < 0.7
    assert efficiency(list(batches(max_tokens=max_tokens))) > 0.93


def test_long_batches_are_not_all_at_one_end():
    means = np.array([LENGTHS[batch].mean() for batch in batches() if len(batch) == 8])
    assert abs(means[:60].mean() - means[-60:].mean()) < 25


def test_long_batches_of_a_budget_are_not_all_at_one_end():
    means = np.array([LENGTHS[batch].mean() for batch in batches(max_tokens=BUDGET)])
    half = len(means) // 2
    assert abs(means[:half].mean() - means[half:].mean()) < 25


def test_a_budget_is_kept_and_used():
    computed = np.array([LENGTHS[batch].max() * len(batch) for batch in batches(max_tokens=BUDGET)])
    assert computed.max() <= BUDGET
    assert np.median(computed) > 0.9 * BUDGET


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own():
    lengths = np.array([5, 5, 5, 5, 300, 310])
    epoch = sorted(map(sorted, batches(lengths=lengths, max_tokens=20)))
    assert epoch == [[0, 1, 2, 3], [4], [5]]


@pytest.mark.parametrize("max_tokens", [None, BUDGET])
@pytest.mark.parametrize("rows", [1003, 16, 9, 1])
def test_ranks_share_the_rows_evenly(rows: int, max_tokens: int | None):
    lengths = LENGTHS[:rows]
    samplers = [batches(lengths=lengths, rank=r, world_size=2, max_tokens=max_tokens) for r in range(2)]
    ranks = [list(one) for one in samplers]
    assert list(map(len, ranks[0])) == list(map(len, ranks[1]))
    assert len(ranks[0]) == len(samplers[0])
    seen = list(chain.from_iterable(ranks[0] + ranks[1]))
    assert set(seen) == set(range(rows))
    assert len(seen) - rows <= 1  # at most one row comes twice


@pytest.mark.parametrize("max_tokens", [None, BUDGET])
def test_ranks_work_equally_long_at_every_step(max_tokens: int | None):
    ranks = [batches(rank=rank, world_size=2, max_tokens=max_tokens) for rank in range(2)]
    longest = [np.array([LENGTHS[batch].max() for batch in rank]) for rank in ranks]
    assert np.abs(longest[0] - longest[1]).mean() < 5


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("max_tokens", [None, BUDGET])
@pytest.mark.parametrize("rows", [1003, 11, 9, 1])
def test_held_out_rows_count_once_and_are_close(rows: int, max_tokens: int | None, world_size: int):
    lengths = LENGTHS[:rows]
    ranks = [
        held_out_batches(lengths, batch_size=8, max_tokens=max_tokens, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1, "a device would wait for one that has ended"
    epoch = [batch for rank in ranks for batch in rank if not isinstance(batch, FillerBatch)]
    assert sorted(chain.from_iterable(epoch)) == list(range(rows))
    assert all(batch for rank in ranks for batch in rank)
    if rows == 1003 and world_size < 3:
        assert efficiency(epoch) > 0.95
    if max_tokens is not None:
        assert max(lengths[batch].max() * len(batch) for batch in epoch) <= max_tokens


KINDS = [(8, None, 1), (4, None, 2), (8, BUDGET, 1), (8, BUDGET // 3, 3), (100, None, 1), (1, None, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_an_epoch_that_goes_on_in_batches_of_other_kinds_holds_every_row_once(seed: int):
    """A run resumed twice, each time in batches of another kind."""
    for kinds in permutations(KINDS, 3):
        seen: list[int] = []
        rows = None
        for part, (batch_size, max_tokens, world_size) in enumerate(kinds):
            kind = {"batch_size": batch_size, "max_tokens": max_tokens, "world_size": world_size, "seed": seed}
            ranks = [batches(**kind, rank=rank, rows=rows, epoch=2) for rank in range(world_size)]
            start = ranks[0].first()
            assert start + len(list(ranks[0])) == len(ranks[0]), "the last batch has the last number"
            end = len(ranks[0]) if part == 2 else start + (len(ranks[0]) - start) // 3
            for rank in ranks:
                seen += chain.from_iterable(islice(rank, end - start))
            rows = batches(**kind, rows=rows, epoch=2, start=end).rest()
        assert len(rows) == 0
        assert {*seen} == {*range(1003)}
        assert len(seen) - 1003 <= sum(kind[2] - 1 for kind in kinds) * 2


def test_the_next_epoch_holds_all_rows_again():
    resumed = batches(rows=np.arange(40), epoch=0)
    assert len(list(resumed)) == 5
    resumed.set_epoch(1)
    assert list(resumed) == list(batches(epoch=1))
