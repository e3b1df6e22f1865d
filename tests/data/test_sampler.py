import numpy as np
import pytest

from finetune.data.sampler import LengthGroupedSampler

LENGTHS = np.random.default_rng(0).integers(3, 200, size=1003)


def sampler(**settings: int) -> LengthGroupedSampler:
    return LengthGroupedSampler(**{"lengths": LENGTHS, "batch_size": 8, "seed": 0, **settings})


def test_every_row_comes_once_an_epoch():
    assert sorted(sampler()) == list(range(1003))


def test_epochs_differ_and_repeat_by_seed():
    one, other = sampler(), sampler()
    first = list(one)
    assert first == list(other)
    one.set_epoch(1)
    assert first != list(one)
    assert first != list(sampler(seed=1))


def test_little_is_computed_on_padding():
    def efficiency(order: list[int]) -> float:
        lengths = LENGTHS[order]
        batches = [lengths[i : i + 8] for i in range(0, len(lengths), 8)]
        return lengths.sum() / sum(batch.max() * len(batch) for batch in batches)

    random_order = np.random.default_rng(1).permutation(1003).tolist()
    assert efficiency(random_order) < 0.7
    assert efficiency(list(sampler())) > 0.93


def test_long_batches_are_not_all_at_one_end():
    order = list(sampler())[:1000]
    means = LENGTHS[order].reshape(-1, 8).mean(axis=1)
    assert abs(means[:60].mean() - means[-60:].mean()) < 25


@pytest.mark.parametrize("rows", [1003, 16, 9, 1])
def test_ranks_share_the_rows_evenly(rows: int):
    ranks = [list(sampler(lengths=LENGTHS[:rows], rank=rank, world_size=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(sampler(lengths=LENGTHS[:rows], world_size=2))
    assert set(ranks[0]) | set(ranks[1]) == set(range(rows))
    assert len(ranks[0]) * 2 - rows <= 1  # at most one row comes twice


def test_ranks_work_equally_long_at_every_step():
    ranks = [np.array(list(sampler(rank=rank, world_size=2)))[:496].reshape(-1, 8) for rank in range(2)]
    longest = [LENGTHS[rank].max(axis=1) for rank in ranks]
    assert np.abs(longest[0] - longest[1]).mean() < 5
