"""Which rows are held out, and which make a subset: seeded and stratified."""

from collections.abc import Sequence

import numpy as np

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


def carve(n_rows: int, fraction: float, *, strata: Sequence[int] | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows that are kept, and of a held-out ``fraction``, at least one row."""
    held_out = sample(n_rows, max(1, round(fraction * n_rows)), strata=strata, seed=seed)
    return np.setdiff1d(np.arange(n_rows), held_out), held_out
