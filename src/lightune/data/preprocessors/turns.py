"""A dialogue in any of its usual shapes becomes a list of turns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SPEAKER = re.compile(r"\s*([#\w][\w .'#-]{0,30}?)\s*:\s+(\S.*)")
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}


@dataclass(frozen=True)
class Turn:
    """One speaker's words at a time.

    ``role`` is ``system``, ``user`` or ``assistant``; ``reply`` says whether the model learns to say it.
    """

    role: str
    content: str
    reply: bool


def read_turns(dialogue: Any, *, complete: bool, reply_roles: Sequence[str] | None = None) -> list[Turn]:
    """Read a dialogue.

    Args:
        dialogue: messages with ``role`` and ``content``, or ``from`` and ``value`` as ShareGPT has them (the assistant's
            are replies); a list of texts, or a text with a turn a line, with or without its speaker before a colon
            (every turn but the first is a reply to those before it, and the last speaker is the assistant); or a single
            text.
        complete: whether the last turn is the assistant's; otherwise the assistant is to answer it.
        reply_roles: the roles of messages that are the assistant's; every other but ``system`` is then the user's.

    Raises:
        ValueError: it has none of these shapes; the message says what is wrong.
    """
    if isinstance(dialogue, str) and dialogue.strip():
        return _read_lines([line for line in dialogue.splitlines() if line.strip()], complete=complete)
    if isinstance(dialogue, list) and dialogue and all(isinstance(turn, str) for turn in dialogue):
        return _alternating(dialogue, complete=complete)
    if isinstance(dialogue, list) and dialogue and all(isinstance(turn, dict) for turn in dialogue):
        return [_read_message(turn, first=index == 0, reply_roles=reply_roles) for index, turn in enumerate(dialogue)]
    raise ValueError("expected messages with 'role' and 'content', a list of texts, or a turn a line")


def _read_message(message: dict[str, Any], *, first: bool, reply_roles: Sequence[str] | None) -> Turn:
    own, content = message.get("role") or message.get("from"), message.get("content")
    content = message.get("value") if content is None else content
    role = ROLES.get(str(own).lower(), str(own).lower())
    if reply_roles and isinstance(own, str):
        role = "assistant" if own in reply_roles else "system" if role == "system" else "user"
    if role not in {"system", "user", "assistant"} or not isinstance(content, str):
        raise ValueError(
            f"expected messages with 'role' (system, user or assistant) and 'content', not {message!r:.120}. "
            "Other roles: data.reply_roles=[NAME] says who answers"
        )
    return Turn(role=role, content=content, reply=role == "assistant" and not first)


def _read_lines(lines: list[str], *, complete: bool) -> list[Turn]:
    matches = [match for line in lines if (match := SPEAKER.fullmatch(line))]
    if len(lines) < 2 or len(matches) < len(lines):
        return _alternating(lines, complete=complete)
    return _turns([match[2] for match in matches], [match[1] == matches[-1][1] for match in matches], complete=complete)


def _alternating(texts: list[str], *, complete: bool) -> list[Turn]:
    by_last = [(len(texts) - index) % 2 == 1 for index in range(len(texts))]
    return _turns(texts, by_last, complete=complete)


def _turns(texts: list[str], by_last_speaker: list[bool], *, complete: bool) -> list[Turn]:
    return [
        Turn(role="assistant" if by_last == complete else "user", content=text.strip(), reply=index > 0)
        for index, (text, by_last) in enumerate(zip(texts, by_last_speaker, strict=True))
    ]
