import numpy as np

from lightune.data.splits import carve, sample, sample_per_class


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


def test_of_each_class_there_are_so_many_rows_or_all():
    classes = [0, 1, 2, 1] * 10 + [3, 3]
    chosen = sample_per_class(classes, 8, seed=0)
    assert np.bincount(np.asarray(classes)[chosen]).tolist() == [8, 8, 8, 2]
    assert {*chosen.tolist()} <= {*sample_per_class(classes, 9, seed=0).tolist()}
    assert not np.array_equal(chosen, sample_per_class(classes, 8, seed=1))
