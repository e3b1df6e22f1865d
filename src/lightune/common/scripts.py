"""Scripts without spaces between words: characters are counted in them where words are counted in others."""

import re

CHINESE_JAPANESE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Of a regular expression's set of characters: Han characters, hiragana and katakana."""

SPACELESS = rf"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff{CHINESE_JAPANESE}"
"""The same with Thai, Lao, Burmese and Khmer."""

MARKS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
r"""Marks that write vowels and tones in Hebrew, Arabic, the scripts of India and Thai, which \w leaves out."""

UNIT = re.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")


def is_spaceless(text: str) -> bool:
    """Return whether most characters of a text are of scripts without spaces."""
    return 2 * len(re.findall(f"[{SPACELESS}]", text)) > len(text)


def units(text: str) -> list[str]:
    """Return the words of a text between spaces, and the single characters where a script has no spaces."""
    return UNIT.findall(text)
