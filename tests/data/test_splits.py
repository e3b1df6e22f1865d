import numpy as np
import pytest

from lightune.data.splits import divide, sample, sample_per_class


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


def test_each_row_is_in_one_part_and_no_part_is_empty():
    for rows in range(4, 30):
        parts = divide(rows, [0.25] * 4, strata=None, groups=None, seed=0)
        assert np.bincount(parts).max() - np.bincount(parts, minlength=4).min() <= 1
    assert np.bincount(divide(3, [0.99, 0.01], strata=None, groups=None, seed=0)).tolist() == [2, 1]
    assert np.bincount(divide(101, [0.9, 0.1], strata=[0, 1] * 50 + [0], groups=None, seed=0)).tolist() == [91, 10]


def test_folds_are_as_equal_as_they_can_be_in_each_class():
    labels = [0] * 90 + [1] * 13
    found = divide(103, [0.2] * 5, strata=labels, groups=None, seed=0)
    assert set(np.bincount(found)) <= {20, 21}
    assert set(np.bincount(found[90:])) <= {2, 3}
    assert not np.array_equal(found, divide(103, [0.2] * 5, strata=labels, groups=None, seed=1))


def test_uneven_groups_become_parts_of_the_wanted_sizes_and_classes():
    rng = np.random.default_rng(0)
    groups = np.asarray([f"g{min(number, 400)}" for number in 20 * rng.pareto(1.0, 3000) // 1])
    labels = (rng.random(3000) < 0.2).astype(int)
    parts = divide(3000, [0.25] * 4, strata=labels.tolist(), groups=groups.tolist(), seed=0)
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    assert np.bincount(parts) / 3000 == pytest.approx([0.25] * 4, abs=0.02)
    assert [labels[parts == part].mean() for part in range(4)] == pytest.approx([labels.mean()] * 4, abs=0.02)


def test_no_part_stays_empty_where_there_is_a_group_for_each():
    one_is_large = ["a"] * 20 + ["b", "c"]
    for shares in ([0.9, 0.05, 0.05], [1 / 3] * 3):
        assert set(divide(22, shares, strata=None, groups=one_is_large, seed=0)) == {0, 1, 2}


def test_of_each_class_there_are_so_many_rows_or_all():
    classes = [0, 1, 2, 1] * 10 + [3, 3]
    chosen = sample_per_class(classes, 8, seed=0)
    assert np.bincount(np.asarray(classes)[chosen]).tolist() == [8, 8, 8, 2]
    assert {*chosen.tolist()} <= {*sample_per_class(classes, 9, seed=0).tolist()}
    assert not np.array_equal(chosen, sample_per_class(classes, 8, seed=1))
