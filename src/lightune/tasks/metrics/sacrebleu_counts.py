"""Counts of single texts that add up to a corpus score; the only module that uses private methods of sacrebleu."""

import re
from collections.abc import Sequence
from typing import Any, Literal

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
    **dict.fromkeys(("th", "tha", "lo", "lao", "my", "mya", "km", "khm"), "char"),
}
"""How BLEU finds words in a language; elsewhere ``13a``, at spaces and signs."""


def make_scorer(name: Literal["bleu", "chrf"], *, language: str | None = None, **options: Any) -> Any:
    """Return sacrebleu's own scorer of BLEU or chrF.

    ``language`` is a code such as ``zh``, ``zh_CN`` or ``zho_Hans``. Where its tokenizer needs MeCab, and that is not
    installed, BLEU is over characters.
    """
    if name == "chrf":
        return CHRF(**options)
    try:
        return BLEU(tokenize=TOKENIZERS.get(language_code(language), "13a"), **options)
    except RuntimeError:
        return BLEU(tokenize="char", **options)


def language_code(language: str | None) -> str:
    """Return the language of a code without its country or script."""
    return re.split("[-_]", language or "")[0].lower()


def text_counts(scorer: Any, prediction: str, references: list[str]) -> list[int]:
    """Return the counts of one text and its references."""
    streams = [[reference] for reference in references]
    counts: list[int] = scorer._extract_corpus_statistics([prediction], streams)[0]
    return counts


def corpus_score(scorer: Any, counts: Sequence[int]) -> float:
    """Return the score of a corpus, 0 to 100, by the sums of its texts' counts."""
    return float(scorer._compute_score_from_stats(list(counts)).score)
