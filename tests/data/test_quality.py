from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import (
    QuestionAnsweringPreprocessor,
    Seq2SeqPreprocessor,
    TextClassificationPreprocessor,
    TokenClassificationPreprocessor,
)
from lightune.data.quality import drop_leaked, find_not_read, find_problems, inputs_of


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


ROWS = {
    "seq2seq": ({"source": "good film", "target": "a"}, {"source": "good film", "target": "b"}),
    "text_classification": ({"answers": "good film", "tags": "x"}, {"answers": "good film", "tags": "y"}),
    "token_classification": ({"words": ["good"], "tags": ["B-X"]}, {"words": ["good"], "tags": ["O"]}),
    "question_answering": (
        {"question": "a", "context": "good film", "answers": {"text": ["good"], "answer_start": [0]}},
        {"question": "a", "context": "good film", "answers": {"text": ["film"], "answer_start": [5]}},
    ),
}


@pytest.mark.parametrize("task", ROWS)
def test_rows_with_the_same_input_are_a_leak_whatever_their_targets_and_columns_are_called(tiny_bert: Path, task: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    made = {
        "seq2seq": lambda: Seq2SeqPreprocessor(
            tokenizer=tokenizer, source_column="source", target_column="target", max_length=16, max_target_length=16,
            source_prefix=None, source_lang=None, target_lang=None,
        ),
        "text_classification": lambda: TextClassificationPreprocessor(
            tokenizer=tokenizer, text_columns=["answers"], label_column="tags", label_names=["x", "y"], max_length=16,
            truncation="head",
        ),
        "token_classification": lambda: TokenClassificationPreprocessor(
            tokenizer=tokenizer, tokens_column="words", label_column="tags", max_length=16, doc_stride=4
        ),
        "question_answering": lambda: QuestionAnsweringPreprocessor(
            tokenizer=tokenizer, question_column="question", context_column="context", answers_column="answers",
            version_2_with_negative=False, max_length=32, doc_stride=8,
        ),
    }  # fmt: skip
    preprocessor = made[task]()
    first, second = (Dataset.from_list([row]) for row in ROWS[task])
    preprocessor.fit(Dataset.from_list([*ROWS[task]]))
    rows = {
        "train": preprocessor.prepare(first, split="train"),
        "validation": preprocessor.prepare(second, split="validation"),
        "test": preprocessor.prepare(second, split="test"),
    }
    inputs = {split: inputs_of(dataset, preprocessor) for split, dataset in rows.items()}
    warnings = find_problems(inputs, strata=dict.fromkeys(rows), names=[])
    assert [warning.split(";")[0] for warning in warnings] == [
        f"{split}: 1 of 1 rows are also in train, so scores come out too good" for split in ("validation", "test")
    ]
    with pytest.raises(UserError, match="No training row of x is left"):
        drop_leaked(rows, preprocessor, path="x")


def test_what_would_read_more_is_told_where_many_training_rows_are_cut():
    ways = ["data.doc_stride=64", "model=modernbert"]
    preprocessor = SimpleNamespace(max_length=16, ways_to_read_more=ways)

    def lines(cut: int) -> list[str]:
        splits = {"train": cut, "test": 20}
        rows = {
            name: Dataset.from_dict({"truncated": [i < count for i in range(20)]}) for name, count in splits.items()
        }
        return find_not_read(rows, preprocessor)

    told = "; to read more of them, the cheapest first: data.doc_stride=64, model=modernbert"
    assert lines(3) == [
        f"texts of more than data.max_length=16 tokens are cut: train 3 of 20 (15%), test 20 of 20 (100%){told}"
    ]
    assert lines(2) == [
        "texts of more than data.max_length=16 tokens are cut: train 2 of 20 (10%), test 20 of 20 (100%)"
    ]
