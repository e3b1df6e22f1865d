"""How good extracted answers are, as the official SQuAD scripts define it."""

import re
import string
from collections import Counter

import torch
from torch import Tensor
from torchmetrics import Metric

from lightune.common.scripts import units

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation + "、。〈〉《》「」『』【】〔〕！（），－．：；？［］～")


def normalize(answer: str) -> str:
    """Return an answer in lower case without punctuation and articles, with one space between words.

    Each character of a script without spaces is a word: the official scripts would take a whole Chinese answer for one.
    """
    return " ".join(units(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION))))


def kind_of_error(prediction: str, answers: list[str]) -> str:
    """Say in words how an answer, empty for none, and the right ones, none or empty for none, differ."""
    found, wanted = normalize(prediction), [text for text in map(normalize, answers) if text]
    if not wanted:
        return "right: there is no answer" if not found else "answered what has no answer"
    if found in wanted:
        return "right"
    if not found:
        return "left without an answer"
    if any(f" {text} " in f" {found} " for text in wanted):
        return "too long: holds the answer"
    if any(f" {found} " in f" {text} " for text in wanted):
        return "too short: a part of the answer"
    words = set(found.split())
    return "overlaps the answer" if any(words & set(text.split()) for text in wanted) else "another place"


class SquadScore(Metric):
    """Exact match and F1 of words, 0 to 1, each question by the best of its answers.

    Source: Rajpurkar et al. (2016) for version 1.1; Rajpurkar et al. (2018) for 2.0, where a question may have no
    answer: then both figures are 1 for an empty prediction and 0 otherwise, and they are also given apart for
    questions with and without an answer.
    """

    full_state_update = False
    exact_match: Tensor
    f1: Tensor
    count: Tensor

    def __init__(self, *, version_2_with_negative: bool) -> None:
        super().__init__()
        self.version_2_with_negative = version_2_with_negative
        for name in ("exact_match", "f1", "count"):  # of questions with an answer, and without
            self.add_state(name, torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: list[str], answers: list[list[str]]) -> None:
        """Add questions: the answer predicted for each, empty for none, and the right ones, if there are any."""
        for prediction, wanted in zip(predictions, answers, strict=True):
            if self.version_2_with_negative:
                wanted = [answer for answer in wanted if normalize(answer)] or [""]
            without = int(self.version_2_with_negative and wanted == [""])
            self.exact_match[without] += max(normalize(prediction) == normalize(answer) for answer in wanted)
            self.f1[without] += max(self._f1(prediction, answer) for answer in wanted)
            self.count[without] += 1

    def compute(self) -> dict[str, Tensor]:
        names = ("exact_match", "f1")
        sums = {name: getattr(self, name) for name in names}
        figures = {name: sums[name].sum() / self.count.sum().clamp(min=1) for name in names}
        if self.version_2_with_negative:
            for index, kind in enumerate(("has_answer", "no_answer")):
                if self.count[index] > 0:
                    figures |= {f"{name}/{kind}": sums[name][index] / self.count[index] for name in names}
        return {name: figure.float() for name, figure in figures.items()}

    def _f1(self, prediction: str, answer: str) -> float:
        predicted, wanted = normalize(prediction).split(), normalize(answer).split()
        if self.version_2_with_negative and not (predicted and wanted):
            return float(predicted == wanted)
        common = (Counter(predicted) & Counter(wanted)).total()
        return 2 * common / (len(predicted) + len(wanted)) if common else 0.0
