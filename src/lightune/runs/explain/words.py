"""Tokens as words: what a person reads a score at."""

import re
from collections.abc import Sequence

from lightune.common.scripts import SPACELESS
from lightune.data.preprocessors.windows import Place
from lightune.data.preprocessors.words import words_at

HAS_SPACELESS = re.compile(f"[{SPACELESS}]")
Span = tuple[int, int]


def merge_words(
    texts: Sequence[str], words: Sequence[Sequence[Span]], places: Sequence[Place | None]
) -> tuple[list[Place], list[int]]:
    """Return the words of a row so that no token lies in two of them, and for each token its word, or -1.

    Words that one token covers (``...``, ``!!``) become one. In scripts without spaces a token begins a word.
    ``words`` are the first character and the end of each, in their order, for each text.
    """
    found: list[Place] = []
    owners = [-1] * len(places)
    for number, (text, spans) in enumerate(zip(texts, words, strict=True)):
        mine = [(index, place) for index, place in enumerate(places) if place and place.text == number]
        tokens = [(place.start, place.end) for _, place in mine]
        pieces = _merged(_cut(text, spans, tokens), tokens, len(text))
        at = words_at(pieces, len(text))
        for index, place in mine:
            piece = max(at[place.start : place.end])  # a token may begin with the space before its word
            owners[index] = piece if piece < 0 else len(found) + piece
        found += [Place(number, start, end) for start, end in pieces]
    return found, owners


def _cut(text: str, words: Sequence[Span], tokens: Sequence[Span]) -> list[Span]:
    begins = sorted({start for start, _ in tokens})
    pieces: list[Span] = []
    for start, end in words:
        cuts = [at for at in begins if start < at < end] if HAS_SPACELESS.search(text, start, end) else []
        pieces += zip([start, *cuts], [*cuts, end], strict=True)
    return pieces


def _merged(pieces: Sequence[Span], tokens: Sequence[Span], length: int) -> list[Span]:
    at = words_at(pieces, length)
    goes_on: set[int] = set()  # pieces that belong to the one before them
    for start, end in tokens:
        covered = {piece for piece in at[start:end] if piece >= 0}
        goes_on |= covered - {min(covered, default=-1)}
    merged: list[Span] = []
    for index, (start, end) in enumerate(pieces):
        if index in goes_on:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
