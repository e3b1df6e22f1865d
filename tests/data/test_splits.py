import numpy as np
import pytest

from lightune.data.splits import carve, divide_groups, folds, sample


def test_a_subset_keeps_the_classes_in_proportion_whatever_the_order_of_rows():
    sorted_labels = [0] * 700 + [1] * 300
    chosen = sample(1000, 100, strata=sorted_labels, seed=0)
    assert np.bincount(np.asarray(sorted_labels)[chosen]).tolist() == [70, 30]


def test_a_subset_has_exactly_its_size_although_shares_are_rounded():
    labels = [0, 1, 2] * 33 + [0]
    for size in range(1, 101):
        assert len(sample(100, size, strata=labels, seed=0)) == size


def test_the_seed_decides_the_rows():
    labels = [0, 1] * 500
    first = sample(1000, 50, strata=labels, seed=1)
    assert np.array_equal(first, sample(1000, 50, strata=labels, seed=1))
    assert not np.array_equal(first, sample(1000, 50, strata=labels, seed=2))


def test_rows_without_strata_are_sampled_from_everywhere():
    chosen = sample(1000, 100, strata=None, seed=0)
    assert len(set(chosen.tolist())) == 100
    assert 0 < (chosen < 500).sum() < 100


def test_carving_gives_every_row_to_one_side():
    kept, held_out = carve(101, 0.1, strata=[0, 1] * 50 + [0], seed=0)
    assert len(held_out) == 10
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(101))


def test_carving_holds_out_at_least_one_row():
    _, held_out = carve(3, 0.01, strata=None, seed=0)
    assert len(held_out) == 1


def test_folds_are_as_equal_as_they_can_be_in_each_class():
    labels = np.asarray([0] * 90 + [1] * 13)
    found = folds(103, 5, strata=labels, seed=0)
    assert sorted(np.bincount(found)) == [20, 20, 21, 21, 21]
    assert sorted(np.bincount(found[labels == 1])) == [2, 2, 3, 3, 3]
    assert not np.array_equal(found, folds(103, 5, strata=labels, seed=1))


def test_uneven_groups_become_parts_of_the_wanted_sizes_and_classes():
    rng = np.random.default_rng(0)
    groups = np.asarray([f"g{number}" for number in rng.zipf(2.0, 3000) % 500])
    labels = (rng.random(3000) < 0.2).astype(int)
    groups[groups == "g1"] = [f"h{number % 7}" for number in range((groups == "g1").sum())]
    parts = divide_groups(groups, [0.25] * 4, strata=labels, seed=0)
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    assert np.bincount(parts) / 3000 == pytest.approx([0.25] * 4, abs=0.02)
    assert [labels[parts == part].mean() for part in range(4)] == pytest.approx([labels.mean()] * 4, abs=0.02)


def test_no_part_stays_empty_where_there_is_a_group_for_each():
    assert sorted(divide_groups(["a"] * 9 + ["b"], [0.9, 0.1], strata=None, seed=0)) == [0] * 9 + [1]
    assert sorted(divide_groups([*"abc"] + ["a"] * 20, [1 / 3] * 3, strata=None, seed=0))[0] == 0
    assert set(divide_groups([*"abc"] + ["a"] * 20, [1 / 3] * 3, strata=None, seed=0)) == {0, 1, 2}
