"""A dialogue in any of its usual shapes becomes a list of turns."""

import re
from dataclasses import dataclass
from typing import Any

SPEAKER = re.compile(r"\s*([#\w][\w .'#-]{0,30}?)\s*:\s+(\S.*)")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


@dataclass(frozen=True)
class Turn:
    """What one speaker says at a time.

    ``role`` is ``system``, ``user`` or ``assistant``; ``reply`` says whether the model learns to say it.
    """

    role: str
    content: str
    reply: bool


def read_turns(dialogue: Any, *, complete: bool) -> list[Turn]:
    """Read a dialogue.

    Args:
        dialogue: messages with ``role`` and ``content`` (the assistant's are replies); a list of texts, or a text with
            a turn a line, its speaker before a colon or not (every turn but the first is a reply to those before
            it, and whoever speaks last is the assistant); or a single text.
        complete: whether the last turn is the assistant's; otherwise it is what the assistant is to answer.

    Raises:
        ValueError: it has none of these shapes; the message says what is wrong.
    """
    if isinstance(dialogue, str) and dialogue.strip():
        lines = [line for line in dialogue.splitlines() if line.strip()]
        return _by_speaker(lines, complete=complete)
    if isinstance(dialogue, list) and dialogue and all(isinstance(turn, str) for turn in dialogue):
        return _alternating([turn.strip() for turn in dialogue], complete=complete)
    if isinstance(dialogue, list) and dialogue and all(isinstance(turn, dict) for turn in dialogue):
        return [_message(turn, first=index == 0) for index, turn in enumerate(dialogue)]
    raise ValueError(
        "expected a list of messages with 'role' and 'content', a list of texts, or a turn a line"
    )


def _message(message: dict[str, Any], *, first: bool) -> Turn:
    role, content = message.get("role"), message.get("content")
    role = ROLES.get(str(role), role)
    if role not in {"system", "user", "assistant"} or not isinstance(content, str):
        raise ValueError(
            f"expected messages with 'role' (system, user or assistant) and 'content', not {message!r:.120}"
        )
    return Turn(role=role, content=content, reply=role == "assistant" and not first)


def _by_speaker(lines: list[str], *, complete: bool) -> list[Turn]:
    found = [SPEAKER.fullmatch(line) for line in lines]
    if len(lines) < 2 or not all(found):
        return _alternating([line.strip() for line in lines], complete=complete)
    turns = [(match[1], match[2].strip()) for match in found if match]
    last = turns[-1][0]
    return [
        Turn(
            role="assistant" if (speaker == last) == complete else "user",
            content=text,
            reply=index > 0,
        )
        for index, (speaker, text) in enumerate(turns)
    ]


def _alternating(texts: list[str], *, complete: bool) -> list[Turn]:
    last = len(texts) - 1
    return [
        Turn(
            role="assistant" if ((last - index) % 2 == 0) == complete else "user",
            content=text,
            reply=index > 0,
        )
        for index, text in enumerate(texts)
    ]
