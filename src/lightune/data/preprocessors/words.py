"""Texts as words with their offsets: lists of words are joined, raw texts are split."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from lightune.common.scripts import CHINESE_JAPANESE, MARKS

LETTER = rf"(?:(?![{CHINESE_JAPANESE}])[\w{MARKS}])"
WORD = re.compile(
    r"https?://\S+"
    rf"|[@#]?{LETTER}+(?:(?:['’.&-]|(?<=\d),(?=\d)){LETTER}+)*"  # @user, don't, U.S, AT&T, 1,000
    r"|\S"  # any other sign is a word of its own, and any character of Chinese or Japanese
)


class Words(NamedTuple):
    """A text, and where each of its words begins and ends (end exclusive)."""

    text: str
    offsets: list[tuple[int, int]]

    def label_tokens(
        self, offsets: list[list[tuple[int, int]]], special: list[list[int]], *, overlap: int
    ) -> list[list[int]]:
        """Return for each token of each window the word whose label it carries, or -1.

        A token belongs to the word that holds its last character (a token may begin with the space before a word).
        The first token of a word carries its label. Of what two windows share, the first half counts in the first
        window and the rest in the second, so each word counts once. For each window, ``offsets`` are the start and end
        of each token in the text, and ``special`` is 1 for a token that the tokenizer added; ``overlap`` is in tokens.
        """
        word_at = words_at(self.offsets, len(self.text))
        first_tokens: dict[int, int] = {}  # of each word, counted over the whole text
        words_of_windows = []
        window_start = 0
        for window, spans in enumerate(offsets):
            window_end = window_start + special[window].count(0)
            low = window_start + overlap // 2 if window > 0 else 0
            high = window_end - overlap + overlap // 2 if window + 1 < len(offsets) else window_end
            token, words = window_start - 1, []
            for (start, end), added in zip(spans, special[window], strict=True):
                token += not added
                word = word_at[end - 1] if end > start and not added else -1
                is_first = word >= 0 and first_tokens.setdefault(word, token) == token
                words.append(word if is_first and low <= token < high else -1)
            words_of_windows.append(words)
            window_start = window_end - overlap
        return words_of_windows


def words_at(offsets: Sequence[tuple[int, int]], length: int) -> list[int]:
    """Return for each character of a text of this length the index of the word that it lies in, or -1."""
    at = [-1] * length
    for word, (start, end) in enumerate(offsets):
        at[start:end] = [word] * (end - start)
    return at


def join_words(words: Sequence[str]) -> Words:
    """Put single spaces between words."""
    offsets, start = [], 0
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return Words(" ".join(words), offsets)


def split_words(text: str) -> Words:
    """Find the words of a raw text, whose characters stay as they are.

    Letters and digits hold together over a single ``'``, ``.``, ``&`` or ``-`` (``don't``, ``U.S``, ``AT&T``,
    ``so-called``), digits also over a comma. ``@user``, ``#topic`` and web addresses are words too; any other
    sign is a word of its own, and any character of Chinese or Japanese. Other text without spaces between words, such as
    Thai, becomes one word up to the next sign: pass such languages as lists of words.
    """
    return Words(text, [match.span() for match in WORD.finditer(text)])
