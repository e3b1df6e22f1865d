"""Answers to questions: where they lie in their context, in characters and in tokens."""

import re
from typing import Any

import numpy as np

from lightune.common.errors import UserError


def read_answers(answers: Any, context: str, *, allow_none: bool, where: str) -> tuple[list[str], list[int], bool]:
    """Return the answers to a question, the character of the context at which each begins, and whether one was moved.

    A wrong start is replaced by the nearest place of the answer: some copies of SQuAD count in other units.
    ``where`` is the row, for the UserError of an answer that is missing, malformed or not in the context.
    """
    if not _is_well_formed(answers):
        raise UserError(
            f"{where}: not as expected: {answers!r:.100}.\n"
            "Expected {'text': ['Paris'], 'answer_start': [12]}: lists of one length, of texts and whole numbers"
        )
    texts, starts = [], []
    for answer, start in zip(answers["text"], answers["answer_start"], strict=True):
        # spaces around an answer would take in the words beside it; an empty text is no answer
        if text := answer.strip():
            texts.append(text)
            starts.append(start + len(answer) - len(answer.lstrip()))
    if not texts and not allow_none:
        raise UserError(
            f"{where}: the question has no answer.\n"
            "If that is intended, set data.version_2_with_negative=true (data=squad_v2 does)"
        )
    found = []
    for text, start in zip(texts, starts, strict=True):
        if start >= 0 and context.startswith(text, start):
            found.append(start)
            continue
        places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
        if not places:
            raise UserError(
                f"{where}: the answer {text[:60]!r} is not in its context.\n"
                "An answer must be an exact part of the context."
            )
        found.append(min(places, key=lambda place: abs(place - start)))
    return texts, found, found != starts


def _is_well_formed(answers: Any) -> bool:
    match answers:
        case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
            return all(isinstance(text, str) for text in texts) and all(isinstance(start, int) for start in starts)
    return False


def find_answer_tokens(spans: np.ndarray, answers: list[str], starts: list[int]) -> list[int]:
    """Return the first and the last token of the first answer; [0, 0] ([CLS]) if not all of it is in the window.

    ``spans`` (length, 2) are the start and end of each token in the context, -1 outside.
    """
    begins, ends = spans[:, 0], spans[:, 1]
    context = np.flatnonzero(begins >= 0)
    if not answers or not len(context):
        return [0, 0]
    start, end = starts[0], starts[0] + len(answers[0])
    if begins[context[0]] > start or ends[context[-1]] < end:
        return [0, 0]
    first = context[np.flatnonzero(begins[context] <= start)[-1]]
    last = context[np.flatnonzero(ends[context] >= end)[0]]
    return [int(first), int(max(first, last))]
