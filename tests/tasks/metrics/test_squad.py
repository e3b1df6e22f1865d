import random
import re
import string

import pytest
from conftest import SHARED
from torchmetrics.functional.text import squad

from lightune.tasks.metrics.squad import SquadScore, kind_of_error, normalize

WORDS = ["the", "a", "Cat", "cat's", "sat", "on", "mat.", "1,000", "é", "an", "—", "..."]


def score(predictions: list[str], answers: list[list[str]], *, v2: bool) -> dict[str, float]:
    metric = SquadScore(version_2_with_negative=v2)
    for start in range(0, len(predictions), 3):
        metric.update(predictions[start : start + 3], answers[start : start + 3])
    return {name: float(value) for name, value in metric.compute().items()}


def fixture(seed: int, least: int) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(words, 5)))

    return [text(0) for _ in range(50)], [[text(1) for _ in range(rng.randint(least, 3))] for _ in range(50)]


@pytest.mark.parametrize("seed", range(5))
def test_version_1_is_torchmetrics_squad(seed: int):
    """But for texts of which nothing is left: it gives them version 2's F1 (see the edge cases)."""
    predictions, answers = fixture(seed, least=1)
    predictions = [text if normalize(text) else "cat" for text in predictions]
    answers = [[text if normalize(text) else "cat" for text in texts] for texts in answers]
    expected = squad(
        [{"id": str(i), "prediction_text": text} for i, text in enumerate(predictions)],
        [
            {"id": str(i), "answers": {"text": texts, "answer_start": [0] * len(texts)}}
            for i, texts in enumerate(answers)
        ],
    )
    found = score(predictions, answers, v2=False)
    assert found["exact_match"] == pytest.approx(float(expected["exact_match"]) / 100)
    assert found["f1"] == pytest.approx(float(expected["f1"]) / 100)


def plainly(prediction: str, answers: list[str]) -> tuple[float, float]:
    """SQuAD 2.0's definition for one question, written down step by step."""

    def words(text: str) -> list[str]:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    gold = [answer for answer in answers if words(answer)]
    if not gold:
        return (float(not words(prediction)),) * 2
    best_exact = best_f1 = 0.0
    for answer in gold:
        mine, theirs = words(prediction), words(answer)
        best_exact = max(best_exact, float(mine == theirs))
        left, same = list(theirs), 0
        for word in mine:
            if word in left:
                left.remove(word)
                same += 1
        if mine and same:
            precision, recall = same / len(mine), same / len(theirs)
            best_f1 = max(best_f1, 2 * precision * recall / (precision + recall))
    return best_exact, best_f1


@pytest.mark.parametrize("seed", range(5))
def test_version_2_is_its_definition(seed: int):
    predictions, answers = fixture(seed, least=0)
    exact, f1 = zip(*map(plainly, predictions, answers), strict=True)
    found = score(predictions, answers, v2=True)
    assert found["exact_match"] == pytest.approx(sum(exact) / 50)
    assert found["f1"] == pytest.approx(sum(f1) / 50)
    without = [i for i, texts in enumerate(answers) if not any(normalize(text) for text in texts)]
    assert without
    assert found["f1/no_answer"] == pytest.approx(sum(f1[i] for i in without) / len(without))


@pytest.mark.parametrize(
    ("prediction", "answers", "v1", "v2"),
    [
        ("", ["the"], (1, 0), (1, 1)),  # both normalise to nothing
        ("cat", ["the"], (0, 0), (0, 0)),
        ("the cat", ["Cat."], (1, 1), (1, 1)),
        ("cat cat", ["cat"], (0, 2 / 3), (0, 2 / 3)),
        ("cat", ["...", "cat"], (1, 1), (1, 1)),
        ("", ["...", "cat"], (1, 0), (0, 0)),  # version 2 drops an answer of signs alone
    ],
)
def test_edge_cases(prediction: str, answers: list[str], v1: tuple, v2: tuple):
    for version, expected in ((False, v1), (True, v2)):
        found = score([prediction], [answers], v2=version)
        assert (found["exact_match"], found["f1"]) == pytest.approx(expected)


def test_no_answer_is_right_where_there_is_none():
    found = score(["", "cat", ""], [[], [], ["cat"]], v2=True)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["exact_match/no_answer"] == pytest.approx(1 / 2)
    assert found["f1/has_answer"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets do not lie beside the project")
def test_right_answers_are_all_right():
    from datasets import load_dataset

    rows = load_dataset(str(SHARED / "squad"), split="validation")
    texts = [answers["text"] for answers in rows["answers"]]
    assert score([t[0] for t in texts], texts, v2=False) == {"exact_match": 1, "f1": 1}


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "f1"),
    [
        ("北京大学", "北京", 0, 2 * 2 / 6),
        ("《红楼梦》", "红楼梦", 1, 1),
        ("北京 大学", "北京大学", 1, 1),
        ("在2008年", "2008年", 0, 4 / 5),
        ("東京タワー", "タワー", 0, 6 / 8),
        ("上海", "北京", 0, 0),
    ],
)
def test_answers_without_spaces_are_counted_by_characters(prediction: str, answer: str, exact: float, f1: float):
    for v2 in (False, True):
        found = score([prediction], [[answer]], v2=v2)
        assert found["exact_match"] == exact
        assert found["f1"] == pytest.approx(f1)
    assert kind_of_error("北京大学", ["北京"]) == "too long: holds the answer"
    assert kind_of_error("京", ["北京"]) == "too short: a part of the answer"
