"""Which rows are held out, and which make a subset: seeded and stratified."""

from collections.abc import Sequence

import numpy as np

GROUP = "data.group_column"
"""The column of prepared rows that holds their groups while they are divided."""

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}
"""The names of files and folders of a split, and the split."""


def sample(n_rows: int, size: int, *, strata: Sequence[int] | None, seed: int) -> np.ndarray:
    """Choose ``size`` of ``n_rows`` rows, or all if there are fewer, each stratum in proportion.

    ``strata`` are a class index for each row, or None for a plain random sample. The same seed gives the same rows.
    Returned are their numbers, (size,), ascending.
    """
    rng = np.random.default_rng(seed)
    size = min(size, n_rows)
    if strata is None:
        return np.sort(rng.permutation(n_rows)[:size])
    classes, class_of_row = np.unique(np.asarray(strata), return_inverse=True)
    counts = np.bincount(class_of_row, minlength=len(classes))
    exact = counts * size / n_rows
    shares = np.floor(exact).astype(int)
    # the rows lost to rounding go to the classes that lost the most
    for index in np.argsort(shares - exact, kind="stable")[: size - shares.sum()]:
        shares[index] += 1
    chosen = [rng.permutation(np.flatnonzero(class_of_row == index))[:share] for index, share in enumerate(shares)]
    return np.sort(np.concatenate(chosen))


def sample_per_class(classes: Sequence[int], size: int, *, seed: int) -> np.ndarray:
    """Choose ``size`` rows of each class, or all of a class with fewer; return their numbers, ascending.

    With one seed a smaller choice is part of a larger one.
    """
    rng, class_of_row = np.random.default_rng(seed), np.asarray(classes)
    chosen = [rng.permutation(np.flatnonzero(class_of_row == index))[:size] for index in np.unique(class_of_row)]
    return np.sort(np.concatenate(chosen))


def divide(
    n_rows: int, shares: Sequence[float], *, strata: Sequence[int] | None, groups: Sequence[str] | None, seed: int
) -> np.ndarray:
    """Return the part of each row, (n_rows,) from 0, of parts of these shares, each of one row or more.

    Each stratum is divided in proportion. Rows of one of the ``groups``, a value for each row, stay together.
    """
    if groups is not None:
        return _divide_groups(groups, shares, strata=strata, seed=seed)
    part_of_row, left = np.zeros(n_rows, dtype=int), 1.0
    for part, share in enumerate(shares[1:], start=1):
        rest = np.flatnonzero(part_of_row == 0)
        size = max(1, round(share / left * len(rest)))
        of_rest = None if strata is None else np.asarray(strata)[rest].tolist()
        part_of_row[rest[sample(len(rest), size, strata=of_rest, seed=seed)]] = part
        left -= share
    return part_of_row


def _divide_groups(
    groups: Sequence[str], shares: Sequence[float], *, strata: Sequence[int] | None, seed: int
) -> np.ndarray:
    """Give the largest groups away first, each to the part that lacks most of the group's classes, or is the last empty."""
    group_of_row = np.unique(groups, return_inverse=True)[1]
    class_of_row = np.zeros_like(group_of_row) if strata is None else np.unique(strata, return_inverse=True)[1]
    counts = np.zeros((group_of_row.max() + 1, class_of_row.max() + 1))
    np.add.at(counts, (group_of_row, class_of_row), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    # of each class: the share in each group, and the share that each part lacks
    counts /= counts.sum(axis=0)
    lacks = np.repeat(np.asarray(shares)[:, None], counts.shape[1], axis=1)
    part_of_group, is_filled = np.zeros(len(counts), dtype=int), np.zeros(len(shares), dtype=bool)
    for done, group in enumerate(order):
        wanted = lacks @ counts[group]
        if len(order) - done <= (~is_filled).sum():
            wanted[is_filled] = -np.inf
        part = part_of_group[group] = wanted.argmax()
        lacks[part] -= counts[group]
        is_filled[part] = True
    return part_of_group[group_of_row]
