from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import InstructionPreprocessor
from lightune.data.quality import find_not_read

TEMPLATE = (
    "{% for m in messages %}{{ '[SEP] ' + m['role'][0] + ' ' + m['content'] + ' [MASK]' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[SEP] a' }}{% endif %}"
)
ROWS = {"instruction": ["is the film good", "a plot"], "input": ["the plot is bad", ""], "output": ["bad", "fine"]}


def make_preprocessor(folder: Path, **settings: object) -> InstructionPreprocessor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    return InstructionPreprocessor(**{"tokenizer": tokenizer, "max_length": 32, "max_target_length": 8, **settings})


def features(
    preprocessor: InstructionPreprocessor, rows: dict, *, split: str = "train", **settings: bool
) -> list[dict]:
    prepared = preprocessor.prepare(Dataset.from_dict(rows), split=split, **settings)
    columns = preprocessor(prepared.to_dict(), training=split == "train")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def text(preprocessor: InstructionPreprocessor, ids: list[int]) -> str:
    return preprocessor.tokenizer.decode([i for i in ids if i != -100])


def test_a_prompt_is_made_of_columns_and_only_its_answer_is_learned(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    with_input, without = features(preprocessor, ROWS)
    assert text(preprocessor, with_input["input_ids"]) == (
        "[SEP] u is the film good the plot is bad [MASK] [SEP] a bad [MASK]"
    )
    assert text(preprocessor, with_input["labels"]) == "bad [MASK]"
    assert text(preprocessor, without["input_ids"]) == "[SEP] u a plot [MASK] [SEP] a fine [MASK]"


def test_an_input_may_be_missing_and_an_answer_may_not(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    assert len(features(preprocessor, ROWS | {"input": ["the plot is bad", None]})) == 2
    with pytest.raises(UserError, match=r"train split has no text in column 'output' of 1 row.*row 2"):
        features(preprocessor, ROWS | {"output": ["bad", None]})


def test_the_system_has_a_turn_of_its_own(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, prompt="{input}", system="a {instruction}")
    row = features(preprocessor, ROWS)[0]
    assert text(preprocessor, row["input_ids"]).startswith("[SEP] s a is the film good [MASK] [SEP] u the plot is bad")


def test_a_long_text_is_cut_and_what_stands_around_it_stays(tiny_bert: Path):
    long = {"source": ["very " * 40 + "bad", "bad"], "output": ["the film is " * 9, "good"]}
    preprocessor = make_preprocessor(tiny_bert, prompt="a film {source} is the good", max_length=10)
    row, short = features(preprocessor, long)
    assert find_not_read({"train": Dataset.from_list([row, short])}, preprocessor) == [
        "texts of more than data.max_length=10 tokens are cut: train 1 of 2 (50%)"
    ]
    written = text(preprocessor, row["input_ids"])
    assert written.count("very") == 10
    assert "a film" in written and "is the good [MASK] [SEP] a" in written and "bad" not in written
    assert text(preprocessor, row["labels"]) == "the film is the film is the film [MASK]"


def test_held_out_rows_of_one_prompt_are_one_example_with_several_references(tiny_bert: Path):
    rows = {"dialogue": ["good", "bad", "good"], "summary": ["fine", "boring", "lovely"]}
    settings = {"prompt": "a film {source}", "source_column": "dialogue", "target_column": "summary"}
    preprocessor = make_preprocessor(tiny_bert, **settings)
    assert len(features(preprocessor, rows)) == 3
    found = features(preprocessor, rows, split="test")
    assert [(row["source"], row["references"]) for row in found] == [("good", ["fine", "lovely"]), ("bad", ["boring"])]
    assert text(preprocessor, found[0]["prompt_ids"]) == "[SEP] u a film good [MASK] [SEP] a"


def test_predictions_need_no_answers(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = {name: ROWS[name] for name in preprocessor.input_columns}
    found = features(preprocessor, rows, split="predict", labelled=False)
    assert [row["references"] for row in found] == [[], []]
    assert text(preprocessor, found[1]["prompt_ids"]) == "[SEP] u a plot [MASK] [SEP] a"


def test_whole_dialogues_may_stand_in_place_of_columns(tiny_bert: Path):
    turns = [("user", "good"), ("assistant", "fine"), ("user", "bad"), ("assistant", "boring")]
    messages = [{"role": role, "content": content} for role, content in turns]
    preprocessor = make_preprocessor(tiny_bert, dialogue_column="messages")
    (row,) = features(preprocessor, {"messages": [messages]})
    assert text(preprocessor, row["labels"]) == "fine [MASK] boring [MASK]"
    assert preprocessor.input_columns == ["messages"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "{inputs}"}, r"data\.prompt=inputs: the train split has no column 'inputs'.*input"),
        ({"prompt": "Summarize."}, r"data\.prompt='Summarize\.': it reads no column"),
        ({"target_column": "answer"}, r"data\.target_column=answer: the train split has no column"),
        ({"max_target_length": 10**6}, r"data\.max_target_length=1000000"),
    ],
)
def test_mistakes_name_the_option(tiny_bert: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        features(make_preprocessor(tiny_bert, **settings), ROWS)
