from pathlib import Path

import pytest
from conftest import save_tokenizer
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lightune.common.errors import UserError
from lightune.data import DialoguePreprocessor
from lightune.data.quality import find_not_read

TEMPLATE = (
    "{% for m in messages %}{{ '[SEP] ' + m['role'][0] + ' ' + m['content'] + ' [MASK]' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[SEP] a' }}{% endif %}"
)
DIALOGUE = "#A#: good film\n#B#: a fine plot\n#A#: is the story bad"


def make_preprocessor(folder: Path, *, template: str | None = None, **settings: object) -> DialoguePreprocessor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    return DialoguePreprocessor(**{"tokenizer": tokenizer, "dialogue_column": "dialogue", "max_length": 32, **settings})


def features(preprocessor: DialoguePreprocessor, rows: list, *, training: bool, labelled: bool = True) -> list[dict]:
    prepared = preprocessor.prepare(Dataset.from_dict({"dialogue": rows}), split="train", labelled=labelled)
    columns = preprocessor(prepared.to_dict(), training=training)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def text(preprocessor: DialoguePreprocessor, ids: list[int]) -> str:
    return preprocessor.tokenizer.decode([i for i in ids if i != -100])


def test_every_turn_but_the_first_is_learned_in_one_pass(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    (row,) = features(preprocessor, [DIALOGUE], training=True)
    assert text(preprocessor, row["input_ids"]) == "[CLS] good film [SEP] a fine plot [SEP] is the story bad [SEP]"
    assert text(preprocessor, row["labels"]) == "a fine plot [SEP] is the story bad [SEP]"
    assert row["length"] == len(row["input_ids"]) == len(row["labels"])


def test_of_messages_only_the_assistants_are_learned(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    messages = [
        {"role": role, "content": content}
        for role, content in (
            ("user", "good film"),
            ("assistant", "a fine plot"),
            ("user", "bad"),
            ("assistant", "boring"),
        )
    ]
    (row,) = features(preprocessor, [messages], training=True)
    assert text(preprocessor, row["labels"]) == "a fine plot [SEP] boring [SEP]"


def test_the_last_reply_of_a_held_out_dialogue_is_to_be_generated(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    (row,) = features(preprocessor, [DIALOGUE], training=False)
    assert text(preprocessor, row["prompt_ids"]) == "[CLS] good film [SEP] a fine plot [SEP]"
    assert row["references"] == ["is the story bad"]
    assert row["source"] == "a fine plot"


def test_what_follows_the_last_reply_is_left_out(tiny_bert: Path):
    messages = [
        {"role": "user", "content": "good film"},
        {"role": "assistant", "content": "boring"},
        {"role": "user", "content": "bad"},
    ]
    (row,) = features(make_preprocessor(tiny_bert), [messages], training=False)
    assert row["references"] == ["boring"]


def test_for_a_prediction_all_turns_are_the_prompt(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = features(preprocessor, ["good film", DIALOGUE], training=False, labelled=False)
    assert text(preprocessor, rows[0]["prompt_ids"]) == "[CLS] good film [SEP]"
    assert text(preprocessor, rows[1]["prompt_ids"]).endswith("is the story bad [SEP]")
    assert rows[0]["references"] == []


def test_a_chat_template_marks_replies_and_opens_the_assistants_turn(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, template=TEMPLATE)
    (train,) = features(preprocessor, [DIALOGUE], training=True)
    assert text(preprocessor, train["input_ids"]).count("[SEP]") == 3
    # the speaker of the last turn is the assistant: the first turn is its too, but answers nothing
    assert text(preprocessor, train["labels"]) == "is the story bad [MASK]"
    (held_out,) = features(preprocessor, [DIALOGUE], training=False)
    assert text(preprocessor, held_out["prompt_ids"]).endswith("a fine plot [MASK] [SEP] a")


def byte_level(template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes that merges line breaks, whatever stands beside them."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab = letters | {"ĊĊ": 256, "ĊĊĊ": 257, "<e>": 258}
    backend = Tokenizer(models.BPE(vocab, [("Ċ", "Ċ"), ("ĊĊ", "Ċ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>", pad_token="<e>")
    tokenizer.chat_template = template
    return tokenizer


HEADERS = (
    "{% for m in messages %}{{ '<' + m['role'] + '>\n' + m['content'] + '<e>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}"
)


@pytest.mark.parametrize("reply", ["hi", "\nhi", "\n\nhi", "\n\n\nhi", " hi", "é", "hi\n\n", ""])
@pytest.mark.parametrize("is_fast", [True, False])
def test_a_reply_is_learned_whatever_it_begins_with(reply: str, is_fast: bool):
    tokenizer = byte_level(HEADERS)
    if not is_fast:
        tokenizer.__class__ = type("Slow", (type(tokenizer),), {"is_fast": False})
    preprocessor = DialoguePreprocessor(tokenizer=tokenizer, dialogue_column="dialogue", max_length=512)
    dialogue = [
        {"role": role, "content": text}
        for role, text in (("user", "go"), ("assistant", reply), ("user", "go"), ("assistant", "so"))
    ]
    (row,) = features(preprocessor, [dialogue], training=True)
    learned = text(preprocessor, row["labels"])
    assert learned.strip("\n") == f"{reply}<e>so<e>".strip("\n")
    assert row["left_out"] == 0
    first = next(index for index, label in enumerate(row["labels"]) if label != -100)
    assert tokenizer.decode(row["input_ids"][:first]).rstrip("\n") == "<user>\ngo<e>\n<assistant>"


def test_replies_that_the_template_rewrites_are_counted():
    forgetful = (
        "{% for m in messages %}{{ m['role'] + ' ' }}{% if loop.last or m['role'] == 'user' %}{{ m['content'] }}{% endif %}"
        "{{ '<e>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    )
    preprocessor = DialoguePreprocessor(tokenizer=byte_level(forgetful), dialogue_column="dialogue", max_length=512)
    once = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "so"}]
    rows = features(preprocessor, [once * 3, once, once * 2], training=True)
    assert [text(preprocessor, row["labels"]) for row in rows] == ["so<e>"] * 3
    assert [row["left_out"] for row in rows] == [2, 0, 1]
    lines = find_not_read({"train": Dataset.from_list(rows)}, preprocessor)
    assert lines == [
        "replies that are not learned, as the chat template writes them in another way once more turns follow: train 3"
    ]


def test_empty_replies_are_counted(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    dialogues = [
        [{"role": "user", "content": "good"}, {"role": "assistant", "content": reply}] for reply in ("a", " ", "")
    ]
    features(make_preprocessor(tiny_bert), dialogues, training=True)
    assert "train: 2 of 3 rows have an empty reply, which teaches to say nothing: row 2, 3" in caplog.text


def test_the_roles_that_answer_are_named(tiny_bert: Path):
    dialogue = [
        {"from": "Customer", "value": "good"},
        {"from": "Agent", "value": "fine"},
        {"from": "Customer", "value": "a"},
    ]
    preprocessor = make_preprocessor(tiny_bert, reply_roles=["Agent"])
    (row,) = features(preprocessor, [dialogue], training=True)
    assert text(preprocessor, row["labels"]) == "fine [SEP]"
    for roles, said in ((("user", "system"), "not user, system"), (("user", "agent"), "'role': 'agent'")):
        messages = [{"role": role, "content": "good"} for role in roles]
        with pytest.raises(UserError, match=rf"{said}.*data\.reply_roles=\[NAME\]") as caught:
            features(make_preprocessor(tiny_bert), [messages], training=True)
        assert len(str(caught.value).splitlines()) <= 5


def test_a_dialogue_that_the_template_refuses_is_reported_with_its_roles(tiny_bert: Path):
    refusing = "{{ raise_exception('Conversation roles must alternate') }}"
    with pytest.raises(UserError, match="roles assistant, user, assistant: Conversation roles must alternate"):
        features(make_preprocessor(tiny_bert, template=refusing), [DIALOGUE], training=True)


def test_all_of_a_long_dialogue_is_learned_in_pieces(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, max_length=16)
    long = "\n".join(["good film"] + ["the story is very fine and bad"] * 9)
    pieces = features(preprocessor, [long], training=True)
    in_one_piece = features(make_preprocessor(tiny_bert, max_length=64), [long], training=True)
    assert len(pieces) > 4
    assert all(len(piece["input_ids"]) <= 16 for piece in pieces)
    learned, wanted = ([i for row in rows for i in row["labels"] if i != -100] for rows in (pieces, in_one_piece))
    assert len(wanted) > 60
    assert learned == [i for row in in_one_piece for i in row["labels"] if i != -100]


def test_pieces_with_nothing_to_learn_are_left_out(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, max_length=16)
    pieces = features(preprocessor, ["#A#: " + "the film is bad " * 20 + "\n#B#: fine"], training=True)
    assert [text(preprocessor, piece["labels"]) for piece in pieces] == ["fine [SEP]"]


def test_a_prompt_that_is_too_long_loses_its_oldest_turns(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, max_length=8)
    (row,) = features(preprocessor, [DIALOGUE], training=False)
    assert text(preprocessor, row["prompt_ids"]).endswith("film [SEP] a fine plot [SEP]")
    assert len(row["prompt_ids"]) <= 8


def test_collate_pads_and_keeps_what_is_to_be_generated(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    batch = preprocessor.collate(features(preprocessor, [DIALOGUE, "#A#: good\n#B#: bad"], training=False))
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"].sum(dim=1).tolist() == [13, 5]
    assert (batch["labels"][1, 5:] == -100).all()
    assert [row["references"] for row in batch["rows"]] == [["is the story bad"], ["bad"]]


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        ("just this", "row 2, column 'dialogue': there is no reply"),
        ("", "row 2, column 'dialogue': expected"),
    ],
)
def test_a_row_without_a_reply_is_refused_with_its_number(tiny_bert: Path, dialogue: str, message: str):
    with pytest.raises(UserError, match=message):
        features(make_preprocessor(tiny_bert), [DIALOGUE, dialogue], training=True)


def test_a_tokenizer_without_special_start_uses_its_end_of_text_token(tmp_path: Path):
    tokenizer = save_tokenizer(tmp_path)
    tokenizer.eos_token = "[MASK]"
    preprocessor = DialoguePreprocessor(tokenizer=tokenizer, dialogue_column="dialogue", max_length=32)
    (row,) = features(preprocessor, [DIALOGUE], training=True)
    assert text(preprocessor, row["labels"]) == "a fine plot [MASK] is the story bad [MASK]"
