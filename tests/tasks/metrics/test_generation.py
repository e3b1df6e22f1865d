import random

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from lightune.tasks.metrics.generation import ROUGE, Degeneration, Distinct, SacreBLEU

WORDS = ["the", "a", "man", "Dog", "runs", "with", "red", ",", ".", "!", "t-shirt", "Haus", "für"]


def corpus(references: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """60 random texts, some empty, each with as many references."""
    rng = random.Random(seed)

    def text(least: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(least, 14)))

    return [text(0) for _ in range(60)], [[text(1) for _ in range(references)] for _ in range(60)]


def fed(metric, predictions: list[str], references: list[list[str]]):
    for start in range(0, len(predictions), 7):
        metric.update(predictions[start : start + 7], references[start : start + 7])
    return metric


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(("score", "reference"), [("bleu", BLEU), ("chrf", CHRF)])
def test_bleu_and_chrf_are_sacrebleus(score: str, reference: type, references: int, lowercase: bool):
    for seed in range(3):
        predictions, wanted = corpus(references, seed)
        theirs = reference(lowercase=lowercase)
        expected = theirs.corpus_score(predictions, [list(column) for column in zip(*wanted, strict=True)])
        ours = fed(SacreBLEU(score=score, lowercase=lowercase), predictions, wanted)
        assert float(ours.compute()) == pytest.approx(expected.score, abs=1e-4)
        assert expected.score > 0.1
        assert ours.signature() == theirs.get_signature().format()


def test_a_varying_number_of_references_is_said_in_the_signature():
    metric = fed(SacreBLEU(score="bleu"), ["a man", "a dog"], [["a man"], ["a dog", "the dog"]])
    assert "nrefs:var" in metric.signature()
    assert float(metric.compute()) >= 0


@pytest.mark.parametrize("references", [1, 3])
def test_rouge_is_rouge_scores_with_the_best_of_several_references(references: int):
    predictions, wanted = corpus(references, 0)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    scores = [scorer.score_multi(w, p) for p, w in zip(predictions, wanted, strict=True)]
    found = fed(ROUGE(), predictions, wanted).compute()
    for name in ("rouge1", "rouge2", "rougeL"):
        mean = sum(score[name].fmeasure for score in scores) / len(scores)
        assert float(found[name]) == pytest.approx(mean, abs=1e-6)


def test_rouge_is_not_rounded_in_half_precision():
    texts = ["a good film with a plot", "the story is bad"], [["a film with a good story"], ["a bad story"]]
    figures = []
    for dtype in (torch.float32, torch.bfloat16):
        # Lightning sets it for a step in bf16-true
        torch.set_default_dtype(dtype)
        try:
            rouge = ROUGE()
            rouge.update(*texts)
        finally:
            torch.set_default_dtype(torch.float32)
        figures.append({name: value.item() for name, value in rouge.compute().items()})
    assert figures[0] == figures[1]


def test_rouge_lsum_reads_a_sentence_a_line():
    prediction, reference = "Dogs run. A man is here.", "A man is here! Dogs run."
    lines = RougeScorer(["rougeLsum"], use_stemmer=True).score("A man is here!\nDogs run.", "Dogs run.\nA man is here.")
    found = fed(ROUGE(), [prediction], [[reference]]).compute()
    assert float(found["rougeLsum"]) == pytest.approx(lines["rougeLsum"].fmeasure)
    assert found["rougeLsum"] == 1
    assert found["rougeL"] < 1


ZH = "我今天在图书馆看书。"
JA = "私は図書館で本を読みます。"
KO = "나는 오늘 도서관에서 책을 읽는다."


@pytest.mark.parametrize(
    ("language", "tokenizer", "text"),
    [
        ("zh", "zh", ZH), ("zh_CN", "zh", ZH), ("zho_Hans", "zh", ZH), ("zh-TW", "zh", ZH), ("ja", "ja-mecab", JA),
        ("ja_XX", "ja-mecab", JA), ("ko", "ko-mecab", KO), ("th_TH", "char", "ฉันอ่านหนังสือ"), ("de", "13a", "ein Haus"),
        (None, "13a", "a house"), ("en_XX", "13a", "a house"),
    ],
)  # fmt: skip
def test_bleu_finds_words_as_the_language_has_them(language: str | None, tokenizer: str, text: str):
    try:
        theirs = BLEU(tokenize=tokenizer)
    except RuntimeError:  # MeCab is not installed
        theirs = BLEU(tokenize="char")
    half = text[: len(text) // 2 + 2] + text[:2]
    ours = fed(SacreBLEU(score="bleu", language=language), [half, text], [[text], [text]])
    assert float(ours.compute()) == pytest.approx(theirs.corpus_score([half, text], [[text, text]]).score, abs=1e-4)
    assert ours.signature() == theirs.get_signature().format()
    assert f"tok:{tokenizer}" in ours.signature() or "tok:char" in ours.signature()


def test_a_chinese_text_that_is_half_right_has_a_score():
    texts, wanted = ["我今天在家看书。"], [["我今天在图书馆看书。"]]
    assert float(fed(SacreBLEU(score="bleu"), texts, wanted).compute()) == 0  # a sentence is one word
    assert float(fed(SacreBLEU(score="bleu", language="zh"), texts, wanted).compute()) > 30


@pytest.mark.parametrize(
    ("language", "prediction", "reference", "f1", "f2"),
    [
        ("zh", "我在家。", "我在馆。", 2 / 3, 1 / 2),
        ("ja", "本を読む", "本を書く", 1 / 2, 1 / 3),
        ("zh_CN", "GPT模型", "gpt模 型", 1, 1),
        ("th", "ฉัน", "ฉัน", 1, 1),
        ("ru", "красный дом", "красный кот", 1 / 2, 0),
        ("hi", "हिन्दी भाषा", "हिन्दी शब्द", 1 / 2, 0),
        ("de", "für dich", "für mich", 1 / 2, 0),
    ],
)
def test_rouge_counts_characters_or_words_of_any_letters(
    language: str, prediction: str, reference: str, f1: float, f2: float
):
    found = fed(ROUGE(language=language), [prediction], [[reference]]).compute()
    assert float(found["rouge1"]) == pytest.approx(f1)
    assert float(found["rouge2"]) == pytest.approx(f2)


def test_sentences_of_chinese_end_without_a_space():
    found = fed(ROUGE(language="zh"), ["他走了。我来了！"], [["我来了。他走了。"]]).compute()
    assert found["rougeLsum"] == 1
    assert found["rougeL"] < 1


def test_distinct_characters_of_chinese():
    assert float(fed(Distinct(n=1), ["好好好"], [[]]).compute()) == pytest.approx(1 / 3)


def test_distinct_counts_across_batches():
    texts = ["a b a b", "b c", "", "a b"]
    assert float(fed(Distinct(n=1), texts, [[]] * 4).compute()) == pytest.approx(3 / 8)
    assert float(fed(Distinct(n=2), texts, [[]] * 4).compute()) == pytest.approx(3 / 5)
    assert float(fed(Distinct(n=2), texts * 5, [[]] * 20).compute()) == pytest.approx(3 / 25)


def test_nothing_generated_is_nothing_distinct():
    assert float(fed(Distinct(n=2), ["", "a"], [[], []]).compute()) == 0


def test_texts_that_repeat_themselves_or_each_other_or_say_nothing_are_counted():
    texts = ["a b c d a b c d", "one two three four five", "", "yes", "yes ", "no"]
    figures = {name: float(value) for name, value in fed(Degeneration(), texts, [[]] * 6).compute().items()}
    assert figures == pytest.approx({"repetition": (1 / 5) / 6, "empty": 1 / 6, "distinct_outputs": 5 / 6})
    nothing = Degeneration().compute()
    assert {name: float(value) for name, value in nothing.items()} == dict.fromkeys(Degeneration.names, 0)
