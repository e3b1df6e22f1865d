import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from lightning import Trainer
from seqeval.metrics import f1_score
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, GPT2Config

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.data import TokenClassificationPreprocessor
from lightune.models.pretrained import PretrainedModel
from lightune.runs.score_table import label_table
from lightune.tasks import TokenClassification
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

LONG = ["good", "Anna", "film", "Lee", "story"] * 8
ROWS = Dataset.from_dict(
    {
        "tokens": [LONG, ["Anna", "\x07", "plot"], ["good", "film"], ["superb"]],
        "ner_tags": [
            ["O", "B-person", "O", "B-place", "I-place"] * 8,
            ["B-person", "I-person", "O"],
            ["O", "O"],
            ["B-place"],
        ],
    }
)


def preprocessor(folder: Path) -> TokenClassificationPreprocessor:
    return TokenClassificationPreprocessor(
        tokenizer=AutoTokenizer.from_pretrained(folder),
        tokens_column="tokens",
        label_column="ner_tags",
        max_length=12,
        doc_stride=4,
    )


def task(folder: Path, head: dict[str, Any]) -> TokenClassification:
    return TokenClassification(
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder)),
        head=head,
        recipe=Recipe(
            tuning=freezing.full,
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
            scheduler=partial(schedule, name="linear", warmup_ratio=0.1),
            num_training_steps=lambda trainer: 10,
        ),
    )


def rows_of(made: TokenClassificationPreprocessor, *, training: bool = False) -> list[dict[str, Any]]:
    made.fit(ROWS)
    prepared = made.prepare(ROWS, split="train")
    kept = prepared.map(made, batched=True, fn_kwargs={"training": training}, remove_columns=prepared.column_names)
    return [kept[i] for i in range(len(kept))]


def saying(monkeypatch: pytest.MonkeyPatch, made: TokenClassification, batch: dict[str, Any], tags: list) -> None:
    """Let the model give each word of a batch the tag that is wanted, surely."""
    logits = torch.zeros(*batch["input_ids"].shape, len(made.classes))
    start = 0
    for row, wanted in zip(batch["rows"], tags, strict=True):
        for window in row["words"]:
            for position, word in enumerate(window):
                if word >= 0:
                    logits[start, position, made.classes.index(wanted[word])] = 20.0
            start += 1

    def forward(batch: dict[str, Any]) -> Tensor:
        return logits

    monkeypatch.setattr(made, "forward", forward)


def evaluate(made: TokenClassification, batches: list[dict[str, Any]]) -> dict[str, float]:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return dict(trainer.test(made, DataLoader(batches, batch_size=None), verbose=False)[0])


def test_scores_count_every_word_of_every_row_once(tiny_bert: Path):
    data = preprocessor(tiny_bert)
    features = rows_of(data)
    made = task(tiny_bert, data.head)
    whole, parts = data.collate(features), [data.collate(features[:1]), data.collate(features[1:])]
    made.eval()
    with torch.no_grad():
        predicted = [tags for tags, _ in made._by_word(made(whole), whole)]
        loss, words = made.loss(made(whole), whole)
    gold = [list(tags) for tags in ROWS["ner_tags"]]
    assert [len(tags) for tags in predicted] == [len(tags) for tags in gold] == [40, 3, 2, 1]
    assert words == 45  # the control character has no token: it counts in the metrics alone
    for batches in ([whole], parts):
        found = evaluate(made, batches)
        assert found["test/f1"] == pytest.approx(f1_score(gold, predicted))
        assert found["test/loss"] == pytest.approx(loss.item())


def test_right_tags_give_full_scores_and_a_lost_word_costs(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    data = preprocessor(tiny_bert)
    batch = data.collate(rows_of(data))
    made = task(tiny_bert, data.head)
    saying(monkeypatch, made, batch, [list(tags) for tags in ROWS["ner_tags"]])
    found = evaluate(made, [batch])
    assert found["test/f1/place"] == 1.0
    assert found["test/precision/person"] == found["test/recall/person"] == pytest.approx(8 / 9)
    assert found["test/f1"] == pytest.approx(17 / 18)
    assert made.label_names == ["person", "place"]
    table = label_table(found, "test", made.label_names, None)
    assert table is not None
    assert [column.header for column in table.columns] == ["test, by label", "precision", "recall", "f1"]


def test_predictions_are_places_in_the_text(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    data = preprocessor(tiny_bert)
    data.fit(ROWS)
    made = task(tiny_bert, data.head)
    text = "the  story of Anna Lee, and " + "the good plot " * 4 + "Anna"
    raw = data.prepare(Dataset.from_dict({"tokens": [text]}), split="predict", labelled=False)
    features = raw.map(data, batched=True, fn_kwargs={"training": False}, remove_columns=raw.column_names)
    batch = data.collate([features[0]])
    assert len(batch["input_ids"]) > 1
    tags = ["O"] * 20
    tags[3:5], tags[19] = ["B-person", "I-person"], "B-place"
    saying(monkeypatch, made, batch, [tags])
    (row,) = made.predict_step(batch, 0)
    assert set(row) == {"entities"}
    first, last = row["entities"]
    assert {**first, "score": None} == {
        "text": "Anna Lee",
        "type": "person",
        "start": 14,
        "end": 22,
        "score": None,
    }
    assert first["score"] == pytest.approx(1, abs=1e-4)
    assert (last["text"], last["type"], last["end"]) == ("Anna", "place", len(text))


def test_a_score_is_the_mean_probability_of_the_words(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    data = preprocessor(tiny_bert)
    data.fit(ROWS)
    made = task(tiny_bert, data.head)
    batch = data.collate([{n: v[0] for n, v in data({"words": [["Anna", "film"]]}, training=False).items()}])
    logits = torch.zeros(*batch["input_ids"].shape, 5)
    first, second = (int((batch["rows"][0]["words"][0] == word).argmax()) for word in (0, 1))
    logits[0, first, 1], logits[0, second, 2] = 1.0, 3.0
    monkeypatch.setattr(made, "forward", lambda batch: logits)
    (row,) = made.predict_step(batch, 0)
    expected = (logits[0, first].softmax(0)[1] + logits[0, second].softmax(0)[2]) / 2
    assert row["text"] == "Anna film"
    assert [entity["score"] for entity in row["entities"]] == [pytest.approx(expected.item())]


def test_the_loss_is_the_mean_over_words(tiny_bert: Path):
    data = preprocessor(tiny_bert)
    batch = data.collate(rows_of(data, training=True))
    made = task(tiny_bert, data.head).eval()
    logits = made(batch)
    loss, words = made.loss(logits, batch)
    labelled = batch["labels"] != -100
    assert words == labelled.sum() == 45
    picked = logits[labelled].log_softmax(-1).gather(1, batch["labels"][labelled, None])
    assert loss.item() == pytest.approx(-picked.mean().item())


def test_a_model_that_reads_from_left_to_right_is_refused(tmp_path: Path):
    GPT2Config(n_layer=1, n_head=1, n_embd=8).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="left to right.*\n.*model=minilm, bert"):
        TokenClassification.check(PretrainedModel(pretrained_model_name_or_path=str(tmp_path)))


CITIES, PEOPLE = ["oslo", "rome", "paris"], ["anna", "lee"]


def write_conll(file: Path, sentences: int) -> None:
    lines = []
    for index in range(sentences):
        words = [
            ("the", "O"),
            (CITIES[index % 3], "B-LOC"),
            ("film", "O"),
            ("with", "O"),
            (PEOPLE[index % 2], "B-PER"),
        ]
        lines += [f"{word} NN {tag}" for word, tag in words] + [""]
    file.write_text("\n".join(lines), encoding="utf-8")


def test_from_a_conll_file_to_predictions(train_here, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_conll(tmp_path / "train.txt", 96)
    write_conll(tmp_path / "test.txt", 12)
    metrics = train_here(
        "task=token_classification",
        "data=local",
        f"data.path.train={tmp_path}/train.txt",
        f"data.path.test={tmp_path}/test.txt",
        "data.doc_stride=8",
        "data.batch_size=4",
        "optimizer.lr=1e-2",
        "trainer.max_epochs=4",
    )
    assert metrics["test/f1"] > 0.9
    assert metrics["test/f1/LOC"] > 0.9
    run = str(tmp_path / "run")
    cli.main(["evaluate", run, "--split", "test"])
    assert f"{metrics['test/f1']:.4f}" in capsys.readouterr().out

    def predicted(*arguments: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        cli.main(["predict", run, *arguments])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    (row,) = predicted("--text", "the  oslo film with anna")
    assert row["tokens"] == "the  oslo film with anna"
    assert [(e["text"], e["type"], e["start"], e["end"]) for e in row["entities"]] == [
        ("oslo", "LOC", 5, 9),
        ("anna", "PER", 20, 24),
    ]
    (tmp_path / "words.jsonl").write_text('{"tokens": ["the", "oslo", "film", "with", "anna"]}\n')
    (tmp_path / "lines.txt").write_text("the oslo film with anna\n\n")
    words = predicted("--file", str(tmp_path / "words.jsonl"))
    lines = predicted("--file", str(tmp_path / "lines.txt"))
    assert words[0]["text"] == lines[0]["tokens"] == "the oslo film with anna"
    assert words[0]["entities"] == lines[0]["entities"]
    assert lines[1]["entities"] == []
    assert len(predicted("--file", str(tmp_path / "test.txt"))) == 12
