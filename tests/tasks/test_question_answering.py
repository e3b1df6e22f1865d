from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from lightune.common.errors import UserError
from lightune.data import QuestionAnsweringPreprocessor
from lightune.models.pretrained import PretrainedModel
from lightune.tasks import QuestionAnswering
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

CONTEXT = " ".join(["the very story is a plot"] * 6 + ["superb"] + ["with a film and the plot"] * 6)


def task(folder: Path, **settings) -> QuestionAnswering:
    return QuestionAnswering(
        **{
            "pretrained": PretrainedModel(pretrained_model_name_or_path=str(folder)),
            "head": {},
            "version_2_with_negative": False,
            "n_best_size": 5,
            "max_answer_length": 4,
            "null_score_diff_threshold": 0.0,
            "recipe": Recipe(
                tuning=freezing.full,
                optimizer=partial(torch.optim.AdamW, lr=1e-3),
                scheduler=partial(schedule, name="linear", warmup_ratio=0.1),
            ),
            **settings,
        }
    )


@pytest.fixture
def batch(tiny_bert: Path) -> dict:
    preprocessor = QuestionAnsweringPreprocessor(
        tokenizer=AutoTokenizer.from_pretrained(tiny_bert), question_column="question", context_column="context",
        answers_column="answers", version_2_with_negative=True, max_length=32, doc_stride=8,
    )  # fmt: skip
    answers = [
        {"text": ["superb with"], "answer_start": [CONTEXT.find("superb")]},
        {"text": [], "answer_start": []},
    ]
    rows = Dataset.from_list([{"question": "bad", "context": CONTEXT, "answers": a} for a in answers])
    columns = preprocessor(preprocessor.prepare(rows, split="test").to_dict(), training=False)
    return preprocessor.collate([dict(zip(columns, r, strict=True)) for r in zip(*columns.values(), strict=True)])


def gold(batch: dict, height: float = 5.0) -> torch.Tensor:
    """Logits that say what the labels say."""
    logits = torch.zeros(*batch["input_ids"].shape, 2)
    for window, labels in enumerate(batch["labels"]):
        for side in (0, 1):
            logits[window, labels[side], side] = height
    return logits


def test_right_logits_are_all_right(tiny_bert: Path, batch: dict):
    made = task(tiny_bert, version_2_with_negative=True)
    # the windows without the answer point to [CLS], that with it to the answer: the lowest score for none counts
    made.update(made.test.metrics, gold(batch), batch)
    found = made.test.metrics.compute()
    assert found["test/exact_match"] == found["test/f1"] == 1
    assert found["test/f1/no_answer"] == 1


def test_the_best_answer_over_all_windows_is_taken(tiny_bert: Path, batch: dict):
    made = task(tiny_bert)
    logits = gold(batch)
    inside = batch["rows"][0]["offsets"][0][:, 0] >= 0
    first = int(inside.argmax())
    logits[0, first] = 4.0  # a worse one in the first window
    made.forward = lambda batch: logits
    prediction = made.predict_step(batch, 0)[0]
    assert prediction["answer"] == "superb with"
    assert CONTEXT[prediction["start"] : prediction["end"]] == "superb with"
    assert prediction["n_best"][1]["answer"] == "the"
    scores = [candidate["score"] for candidate in prediction["n_best"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    assert len(scores) == 5


def test_answers_are_no_longer_than_allowed_and_end_after_they_begin(tiny_bert: Path, batch: dict):
    made = task(tiny_bert, n_best_size=50)
    torch.manual_seed(0)
    made.forward = lambda batch: torch.randn(*batch["input_ids"].shape, 2) * 5
    for prediction in made.predict_step(batch, 0):
        for candidate in prediction["n_best"]:
            assert candidate["answer"] == CONTEXT[candidate["start"] : candidate["end"]]
            assert 1 <= len(candidate["answer"].split()) <= 4


@pytest.mark.parametrize(("threshold", "answer"), [(0.0, ""), (3.0, "superb with")])
def test_no_answer_must_be_better_by_the_threshold(tiny_bert: Path, batch: dict, threshold: float, answer: str):
    made = task(tiny_bert, version_2_with_negative=True, null_score_diff_threshold=threshold)
    logits = gold(batch)
    logits[:, 0] = 6.0  # 12 in all for no answer, 10 for the right one
    made.forward = lambda batch: logits
    prediction = made.predict_step(batch, 0)[0]
    assert prediction["answer"] == answer
    assert (prediction["start"] is None) == (answer == "")
    assert any(candidate["answer"] == "" for candidate in prediction["n_best"])


def test_the_loss_is_transformers_own(tiny_bert: Path, batch: dict):
    made = task(tiny_bert).eval()
    names = ("input_ids", "attention_mask", "token_type_ids")
    labels = batch["labels"]
    whole = batch["attention_mask"].all(dim=1)  # it does not mask padding, as we do
    given = {name: batch[name][whole] for name in names} | {"labels": labels[whole]}
    with torch.no_grad():
        theirs = made.model(
            **{name: given[name] for name in names},
            start_positions=labels[whole][:, 0],
            end_positions=labels[whole][:, 1],
        ).loss
        mine, count = made.loss(made(given), given)
    assert mine == pytest.approx(theirs.item(), abs=1e-5)
    assert count == 2 * int(whole.sum())


def test_a_model_that_reads_from_left_to_right_is_refused(tmp_path: Path):
    GPT2Model(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"\(gpt2\) does not fit this task: it reads from left to right"):
        QuestionAnswering.check(PretrainedModel(pretrained_model_name_or_path=str(tmp_path)))
