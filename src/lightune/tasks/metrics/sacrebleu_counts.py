"""Counts of single texts that add up to a corpus score; the only module that uses private methods of sacrebleu."""

from collections.abc import Sequence
from typing import Any, Literal

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF


def make_scorer(name: Literal["bleu", "chrf"], **options: Any) -> Any:
    """Return sacrebleu's own scorer of BLEU or chrF."""
    return (BLEU if name == "bleu" else CHRF)(**options)


def text_counts(scorer: Any, prediction: str, references: list[str]) -> list[int]:
    """Return the counts of one text and its references."""
    streams = [[reference] for reference in references]
    counts: list[int] = scorer._extract_corpus_statistics([prediction], streams)[0]
    return counts


def corpus_score(scorer: Any, counts: Sequence[int]) -> float:
    """Return the score of a corpus, 0 to 100, by the sums of its texts' counts."""
    return float(scorer._compute_score_from_stats(list(counts)).score)
