"""Texts as words with their places: word lists are joined, raw texts are split."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Marks that write vowels and tones are no letters to ``\w``: Hebrew, Arabic, the scripts of India, Thai
LETTER = r"[\w\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e]"
WORD = re.compile(
    r"https?://\S+"
    rf"|[@#]?{LETTER}+(?:(?:['’.&-]|(?<=\d),(?=\d)){LETTER}+)*"  # @user, don't, U.S, AT&T, 1,000
    r"|\S"  # any other sign is a word of its own
)


class Words(NamedTuple):
    """A text, and where each of its words begins and ends (end exclusive)."""

    text: str
    offsets: list[tuple[int, int]]

    def spoken_for(
        self, offsets: list[list[tuple[int, int]]], special: list[list[int]], *, overlap: int
    ) -> list[list[int]]:
        """Return for each token of each window the word that it speaks for, or -1.

        A token belongs to the word that its last character lies in (tokens may begin with the space before a word);
        the first of a word speaks for it. Where windows overlap, each speaks for its half: a word is spoken for once.

        Args:
            offsets: for each window the place of each token in the text.
            special: for each window which tokens were added to the text's own.
            overlap: tokens that neighbouring windows share.
        """
        at = self._word_at_each_character()
        first: dict[int, int] = {}  # the first token of each word, counted over the whole text
        found = []
        begins = 0
        for window, places in enumerate(offsets):
            ends = begins + special[window].count(0)
            low = begins + overlap // 2 if window > 0 else 0
            high = ends - overlap + overlap // 2 if window + 1 < len(offsets) else ends
            token, spoken = begins - 1, []
            for (left, right), added in zip(places, special[window], strict=True):
                token += not added
                word = at[right - 1] if right > left and not added else -1
                speaks = word >= 0 and first.setdefault(word, token) == token and low <= token < high
                spoken.append(word if speaks else -1)
            found.append(spoken)
            begins = ends - overlap
        return found

    def _word_at_each_character(self) -> list[int]:
        words = [-1] * len(self.text)
        for index, (start, end) in enumerate(self.offsets):
            words[start:end] = [index] * (end - start)
        return words


def join_words(words: Sequence[str]) -> Words:
    """Put single spaces between words."""
    offsets, start = [], 0
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return Words(" ".join(words), offsets)


def split_words(text: str) -> Words:
    """Find the words of a raw text, which keeps its own characters.

    Letters and digits hold together over a single ``'``, ``.``, ``&`` or ``-`` (``don't``, ``U.S``, ``AT&T``,
    ``so-called``), digits also over a comma; ``@user``, ``#topic`` and addresses of the web are words too; any
    other sign is one of its own. Text written without spaces between words becomes one word up to the next
    sign: give such languages as lists of words.
    """
    return Words(text, [match.span() for match in WORD.finditer(text)])
