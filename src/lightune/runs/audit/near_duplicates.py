"""Texts that are nearly the same: MinHash, locality-sensitive hashing, and the exact similarity of what they find."""

import re
from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIMILARITY = 0.7  # Jaccard, of the sets of three words in a row
WORDS = 3
# of pairs at SIMILARITY 97 in 100 share all hashes of a band, at 0.8 all but one in 3000
BANDS, HASHES = 20, 5
# a word, or a character of a script that puts no spaces between words
WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")


def find_near_duplicates(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each text the number of its group, 0 where it has none, and its similarity to the nearest in it.

    Case and punctuation do not count. A group is what pairs of at least ``SIMILARITY`` connect, numbered from 1 by its
    first text. Both are (texts,). Source: Broder (1997), On the Resemblance and Containment of Documents.
    """
    rng = np.random.default_rng(0)
    multipliers = rng.integers(2**63, size=WORDS + (BANDS + 1) * HASHES, dtype=np.uint64) | 1
    of_word, of_band, of_hash = np.split(multipliers, [WORDS, WORDS + HASHES])
    vocabulary: dict[str, int] = {}
    sets, keys = [], []
    for text in texts:
        numbers = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in WORD.findall(text.lower())]
        # zeros at both ends: a short text has several sets of words too, and an empty one has one
        sets.append(np.unique(sliding_window_view(np.array([0, 0, *numbers, 0, 0], dtype=np.uint64), WORDS) @ of_word))
        # of a product modulo 2^64 the high bits are well mixed
        hashes = (sets[-1][:, None] * of_hash >> 32).min(axis=0)
        keys.append((hashes.reshape(BANDS, HASHES) * of_band).sum(axis=1))
    candidates = []
    for band in np.array(keys).T:
        order = np.argsort(band, kind="stable")
        candidates.append(np.stack([order[:-1], order[1:]], axis=1)[band[order[1:]] == band[order[:-1]]])
    pairs = np.unique(np.concatenate(candidates), axis=0)
    shared = np.array([np.intersect1d(sets[a], sets[b], assume_unique=True).size for a, b in pairs])
    sizes = np.array([*map(len, sets)])
    similarity = shared / (sizes[pairs].sum(axis=1) - shared)
    pairs, similarity = pairs[similarity >= SIMILARITY], similarity[similarity >= SIMILARITY]
    nearest = np.zeros(len(sets))
    np.maximum.at(nearest, pairs, similarity[:, None])
    # components are numbered in the order of their first texts
    graph = coo_array((similarity, tuple(pairs.T)), shape=(len(sets), len(sets)))
    component = connected_components(graph, directed=False)[1]
    has_several = np.bincount(component) > 1
    return np.where(has_several, np.cumsum(has_several), 0)[component], nearest
