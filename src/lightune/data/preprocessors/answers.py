"""Answers to questions: where they lie in their context, by characters and by tokens."""

from typing import Any

import numpy as np

from lightune.common.errors import UserError


def read_answers(answers: Any, context: str, *, may_be_none: bool, where: str) -> tuple[list[str], list[int]]:
    """Return the answers of a question and the characters of the context that they begin with.

    A start that is off is looked for anew: some copies of SQuAD count in other units.

    Raises:
        UserError: there is none though there must be, or one is not in the context.
    """
    if not _well_formed(answers):
        raise UserError(
            f"{where}: not as expected: {answers!r:.100}.\n"
            "Expected {'text': ['Paris'], 'answer_start': [12]}: lists of one length, of texts and whole numbers"
        )
    # spaces around an answer would take in the words beside it; an empty one is none
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    kept = [(text.strip(), start + len(text) - len(text.lstrip())) for text, start in pairs if text.strip()]
    texts, starts = [text for text, _ in kept], [start for _, start in kept]
    if not texts and not may_be_none:
        raise UserError(
            f"{where}: the question has no answer.\n"
            "If that is meant, say so: data.version_2_with_negative=true (data=squad_v2 does)"
        )
    for position, (text, start) in enumerate(zip(texts, starts, strict=True)):
        if start < 0 or context[start : start + len(text)] != text:
            found = context.find(text)
            if found < 0:
                raise UserError(
                    f"{where}: the answer {text[:60]!r} is not in its context.\n"
                    "Answers must be parts of the context, to the letter."
                )
            starts[position] = found
    return texts, starts


def _well_formed(answers: Any) -> bool:
    if not isinstance(answers, dict):
        return False
    texts, starts = answers.get("text"), answers.get("answer_start")
    return (
        isinstance(texts, list)
        and isinstance(starts, list)
        and len(texts) == len(starts)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(start, int) for start in starts)
    )


def answer_tokens(spans: np.ndarray, answers: list[str], starts: list[int]) -> list[int]:
    """Return the tokens that the first answer begins and ends with, or twice 0 ([CLS]) where it is not all there.

    Args:
        spans: (length, 2), where each token lies in the context, -1 outside.
        answers: the right ones.
        starts: their first characters.
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
