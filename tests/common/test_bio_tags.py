import itertools
import random

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from lightune.common.bio_tags import entity_types, label_names, likeliest, may_follow, read_spellings, spans, to_bio

WANTED = [("PER", 0, 2), ("PER", 2, 3), ("creative-work", 4, 7), ("LOC", 7, 8)]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER B-PER O B-creative-work I-creative-work I-creative-work B-LOC",  # BIO
        "I-PER I-PER B-PER O I-creative-work I-creative-work I-creative-work I-LOC",  # IOB1
        "B-PER E-PER S-PER O B-creative-work I-creative-work E-creative-work S-LOC",  # BIOES
        "B-PER L-PER U-PER O B-creative-work I-creative-work L-creative-work U-LOC",  # BILOU
        "B-PER E-PER S-PER O B-creative-work M-creative-work E-creative-work S-LOC",  # BMES
    ],
)
def test_every_scheme_marks_the_same_entities(tags: str):
    assert spans(tags.split()) == WANTED
    assert spans(to_bio(tags.split())) == WANTED
    assert to_bio(tags.split())[:4] == ["B-PER", "I-PER", "B-PER", "O"]


def test_tags_without_a_prefix_or_without_a_type():
    assert spans(["PER", "PER", "O", "creative-work", "LOC"]) == [
        ("PER", 0, 2),
        ("creative-work", 3, 4),
        ("LOC", 4, 5),
    ]
    assert spans(["B", "I", "B", "O"]) == [("entity", 0, 2), ("entity", 2, 3)]


def test_random_sequences_are_read_as_seqeval_reads_them():
    rng = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("a", "b-c"))]
    for _ in range(2000):
        sequence = rng.choices(tags, k=rng.randint(0, 12))
        expected = [(kind, first, last + 1) for kind, first, last in get_entities(sequence)]
        assert spans(sequence) == expected
        mapped = [{"E": "L", "S": "U"}.get(tag[0], tag[0]) + tag[1:] for tag in sequence]
        assert spans(mapped) == expected


def test_label_names():
    assert entity_types(["O", "I-x", "B-x", "B-a-b", "plain"]) == ["x", "a-b", "plain"]
    assert label_names(["x", "a-b"]) == ["O", "B-x", "I-x", "B-a-b", "I-a-b"]


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O B-PER I-PER", "O B-PER I-PER"),
        ("o B-PER I-PER O", "O B-PER I-PER O"),
        ("o b-PER i-PER", "O B-PER I-PER"),
        ("O B_PER I_PER", "O B-PER I-PER"),
        ("o b_first_name i_first_name", "O B-first_name I-first_name"),
        ("O PER-B PER-I LOC-B", "O B-PER I-PER B-LOC"),
        ("O PER_B PER_I PER_E LOC_S", "O B-PER I-PER E-PER S-LOC"),
        ("O B-PER M-PER E-PER W-PER", "O B-PER M-PER E-PER S-PER"),
        ("O B I", "O B-entity I-entity"),
        ("o b i", "O B-entity I-entity"),
        ("O S-PER", "O S-PER"),
        ("O B-PER PER", "O B-PER PER"),
        ("o PER e-mail", "O PER e-mail"),
        ("O b_cell t_cell", "O b_cell t_cell"),
        ("O vitamin-B vitamin-E", "O vitamin-B vitamin-E"),
        ("NN , $ ''", "NN , $ ''"),
    ],
)
def test_the_usual_spellings_of_tags_are_read(tags: str, wanted: str):
    assert [*read_spellings(tags.split()).values()] == wanted.split()


@pytest.mark.parametrize(
    ("tags", "no_tag"),
    [
        ("O B-PER I-PER LOC", "LOC"),
        ("O B-PER X", "X"),
        ("O B-PER X-PER", "X-PER"),
        ("O B_PER I_PER NONE", "NONE"),
        ("O PER 0", "0"),
        ("O B-PER I-PER _", "_"),
        ("(PER* *) *", "(PER*"),
        ("O PER [CLS]", "[CLS]"),
    ],
)
def test_a_tag_that_fits_no_scheme_is_left_out(tags: str, no_tag: str):
    assert no_tag not in read_spellings(tags.split())


def test_the_likeliest_tags_are_those_of_all_that_bio_allows():
    tags, draw = label_names(["PER", "LOC"]), np.random.default_rng(0)
    allowed = may_follow(tags)
    changed = 0
    for words in (1, 2, 3, 4) * 8:
        log_probabilities = np.log(draw.dirichlet([0.5] * len(tags), size=words))
        found = likeliest(log_probabilities, allowed=allowed)
        valid = [
            sequence
            for sequence in itertools.product(range(len(tags)), repeat=words)
            if to_bio([tags[index] for index in sequence]) == [tags[index] for index in sequence]
        ]
        assert tuple(found) == max(valid, key=lambda of: sum(log_probabilities[range(words), of]))
        changed += tuple(found) != tuple(log_probabilities.argmax(axis=-1))
    assert changed, "some would begin with I-"
