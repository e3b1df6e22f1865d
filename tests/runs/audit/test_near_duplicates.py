"""Texts with a few words changed are found among others; the exact similarity decides."""

import random

from lightune.runs.audit.near_duplicates import SIMILARITY, find_near_duplicates


def jaccard(first: str, second: str) -> float:
    sets = []
    for text in (first, second):
        words = ["", "", *text.split(), "", ""]
        sets.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_changed_texts_are_found_and_others_are_not():
    rng = random.Random(0)
    words = [f"w{number}" for number in range(500)]
    originals = [rng.choices(words, k=rng.randint(15, 80)) for _ in range(300)]
    changed = []
    for text in originals[:100]:
        copy = [*text]
        copy[rng.randrange(len(copy))] = "changed"
        changed.append(copy)
    texts = [" ".join(text) for text in (*originals, *changed)]
    groups, similarity = find_near_duplicates(texts)
    expected = [jaccard(texts[i], texts[300 + i]) for i in range(100)]
    found = [groups[i] == groups[300 + i] > 0 for i in range(100)]
    assert found == [value >= SIMILARITY for value in expected]
    assert all(abs(similarity[i] - expected[i]) < 1e-9 for i in range(100) if found[i])
    assert set(groups[100:300]) == {0}


def test_case_punctuation_and_other_scripts():
    texts = [
        "A film to treasure.",
        "这部电影的故事非常好看我们都很喜欢",
        "a film - to TREASURE!",
        "Dull.",
        "这部电影的故事非常好看我们都很喜欢它",
        "",
        "",
    ]
    groups, similarity = find_near_duplicates(texts)
    assert groups.tolist() == [1, 2, 1, 0, 2, 3, 3]
    assert similarity[[0, 2, 3, 5]].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert find_near_duplicates(["One text alone."])[0].tolist() == [0]
