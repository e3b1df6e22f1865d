import pytest

from lightune.data.preprocessors.turns import Turn, read_turns


def roles(dialogue: object, *, complete: bool = True) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.content, turn.reply) for turn in read_turns(dialogue, complete=complete)]


def test_speakers_before_a_colon_are_read_and_the_last_speaker_is_the_assistant():
    assert roles("#Person1#: Hi there.\n#Person2#: Hello: you?\n#Person2#: Well.") == [
        ("user", "Hi there.", False),
        ("assistant", "Hello: you?", True),
        ("assistant", "Well.", True),
    ]


def test_before_a_reply_is_predicted_the_last_speaker_is_the_user():
    assert roles("Ann: Hi.\nBob: Hello.\nAnn: Lunch?", complete=False) == [
        ("user", "Hi.", False),
        ("assistant", "Hello.", True),
        ("user", "Lunch?", True),
    ]


def test_lists_of_texts_and_lines_without_speakers_take_turns():
    for dialogue in (["Hi.", "Hello.", "Lunch?"], "Hi.\nHello.\n\nLunch?"):
        assert [role for role, _, _ in roles(dialogue)] == ["assistant", "user", "assistant"]
    assert [role for role, _, _ in roles(["Hi.", "Hello."], complete=False)] == ["assistant", "user"]


def test_messages_keep_their_roles_and_only_the_assistant_replies():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "human", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
    ]
    assert read_turns(messages, complete=True) == [
        Turn("system", "Be brief.", False),
        Turn("user", "Hi.", False),
        Turn("assistant", "Hello.", True),
    ]


def test_messages_of_sharegpt_and_roles_in_capitals_are_read():
    messages = [
        {"from": "human", "value": "Hi."},
        {"from": "gpt", "value": "Hello."},
        {"role": "User", "content": "So?", "from": None},
    ]
    assert roles(messages) == [("user", "Hi.", False), ("assistant", "Hello.", True), ("user", "So?", False)]


def test_the_side_that_answers_can_be_named():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "customer", "content": "Hi."}]
    messages.append({"role": "agent", "content": "Hello."})
    turns = read_turns(messages, complete=True, reply_roles=["agent"])
    assert [turn.role for turn in turns] == ["system", "user", "assistant"]
    turns = read_turns([{"role": "user", "content": "Hi."}, messages[0]], complete=True, reply_roles=["system"])
    assert [(turn.role, turn.reply) for turn in turns] == [("user", False), ("assistant", True)]


@pytest.mark.parametrize("dialogue", ["  ", [], [1, 2], 7, None, [{"role": "user"}], [{"role": "cat", "content": "x"}]])
def test_anything_else_is_refused(dialogue: object):
    with pytest.raises(ValueError, match="expected"):
        read_turns(dialogue, complete=True)
