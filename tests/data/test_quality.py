import pytest
from datasets import Dataset

from lightune.data.quality import find_problems


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["Positive", "positive", "negative"], "'Positive' and 'positive'"),
        (["New York", "NewYork"], "'New York' and 'NewYork'"),
        (["new york", "New\u00a0York"], r"'new york' and 'New\xa0York'"),
        (["1", "01", "2"], "'1' and '01'"),
        (["O", "B-PER", "I-PER", "B-per", "I-per"], "'B-PER' and 'B-per', 'I-PER' and 'I-per'"),
        (["yes", "no", "1", "2"], None),
    ],
)
def test_labels_that_differ_only_in_spelling_are_told(names: list[str], pairs: str | None):
    rows = {
        split: Dataset.from_dict({"text": [f"{split} {i}" for i in range(9)]})
        for split in ("train", "validation", "test")
    }
    warnings = find_problems(rows, strata=dict.fromkeys(rows), names=names)
    told = f"labels differ only in case, spaces or the spelling of a number: {pairs}"
    assert warnings == ([told] if pairs else [])
