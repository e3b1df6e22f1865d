import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import WORDS
from lightning import Callback, Trainer
from torch.utils.data import DataLoader
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

import lightune
from lightune.commands import cli
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, Labels
from lightune.models.pretrained import PretrainedModel
from lightune.runs.report.run_results import summarize
from lightune.tasks import TextClassification
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

NAMES = ["bad", "fair", "good"]


def task(folder: Path, names: list[str] = NAMES, problem_type: str = SINGLE, **settings) -> TextClassification:
    return TextClassification(
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder), **settings),
        head=Labels(names=names, problem_type=problem_type).head,
        recipe=Recipe(
            tuning=freezing.full,
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
            scheduler=partial(schedule, name="linear", warmup_ratio=0.1),
            num_training_steps=lambda trainer: 10,
        ),
    )


def batch(labels: list, dtype: torch.dtype = torch.int64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(labels))
    ids = torch.randint(5, 40, (len(labels), 6), generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.tensor(labels, dtype=dtype),
    }


def evaluate(made: TextClassification, batches: list[dict]) -> dict[str, float]:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        barebones=False,
    )
    return trainer.test(made, DataLoader(batches, batch_size=None), verbose=False)[0]


def test_dropout_is_active_in_training_and_off_in_evaluation(tiny_bert: Path):
    made = task(tiny_bert)
    rows = batch([0, 1, 2])
    assert made.training_step(rows, 0) != made.training_step(rows, 0)
    made.eval()
    assert torch.equal(made(rows), made(rows))


def test_dropout_stays_active_after_a_validation(tiny_bert: Path):
    class Watch(TextClassification):
        modes: list[bool] = []

        def on_train_batch_start(self, batch: dict, batch_idx: int) -> None:
            self.modes.append(all(module.training for module in self.model.modules()))

    made = task(tiny_bert)
    made.__class__ = Watch
    rows = DataLoader([batch([0, 1, 2])] * 3, batch_size=None)
    Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        made, rows, rows
    )
    assert Watch.modes == [True] * 6


def test_metrics_are_over_all_rows_not_the_mean_of_batches(tiny_bert: Path):
    made = task(tiny_bert)
    batches = [batch([0, 1, 2, 1]), batch([2])]
    found = evaluate(made, batches)
    made.eval()
    with torch.no_grad():
        logits = torch.cat([made(rows) for rows in batches])
    labels = torch.cat([rows["labels"] for rows in batches])
    predicted = logits.argmax(dim=-1)
    assert found["test/accuracy"] == pytest.approx((predicted == labels).float().mean().item())
    assert found["test/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    for index, name in enumerate(NAMES):
        hits = int(((predicted == index) & (labels == index)).sum())
        assert found[f"test/recall/{name}"] == pytest.approx(hits / int((labels == index).sum()))
        assert found[f"test/precision/{name}"] == pytest.approx(hits / max(1, int((predicted == index).sum())))
    recalls = [found[f"test/recall/{name}"] for name in NAMES]
    assert found["test/recall"] == pytest.approx(sum(recalls) / 3)
    matrix = made.confusion_matrix()
    assert [sum(row) for row in matrix] == [1, 2, 2]
    assert sum(matrix[i][i] for i in range(3)) == int((predicted == labels).sum())


def test_several_labels_at_once(tiny_bert: Path):
    made = task(tiny_bert, problem_type=MULTI)
    rows = batch([[1, 0, 1], [0, 0, 0], [1, 1, 1]], torch.float32)
    found = evaluate(made, [rows])
    made.eval()
    with torch.no_grad():
        predicted = made(rows).sigmoid() >= 0.5
    right = (predicted == rows["labels"].bool()).all(dim=1).float().mean().item()
    assert found["test/accuracy"] == pytest.approx(right)
    assert made.monitor == ("val/f1", "max")
    prediction = made.predict_step(rows, 0)[0]
    assert prediction["labels"] == [name for name, p in prediction["probabilities"].items() if p >= 0.5]
    assert made.confusion_matrix() is None


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_figures_are_those_of_the_rows_whatever_the_logits_are(tiny_bert: Path, problem_type: str):
    class Fixed(TextClassification):
        def forward(self, batch: dict) -> torch.Tensor:
            return batch["logits"]

    made = task(tiny_bert, problem_type=problem_type)
    made.__class__ = Fixed
    logits = [[[0.2, 0.7, 0.9], [0.0, 1.0, 0.4]], [[-3.0, 0.3, 5.0], [0.1, -0.2, 0.6]]]  # the first lie in 0 to 1
    labels = [[[1, 1, 1], [0, 1, 1]], [[0, 1, 1], [1, 0, 1]]]
    batches = [
        {"logits": torch.tensor(values), "input_ids": torch.zeros(2, 1), "row_numbers": [2 * number, 2 * number + 1]}
        | {"labels": torch.tensor(true).float() if problem_type == MULTI else torch.tensor(true).argmax(dim=1)}
        for number, (values, true) in enumerate(zip(logits, labels, strict=True))
    ]
    found = evaluate(made, batches)
    rows = made.all_rows("test")
    summary = summarize(made.analyse(rows, NAMES), perplexity=False)
    for name, value in summary.of().items():
        assert found[f"test/{name}"] == pytest.approx(value, abs=1e-6), name
    if problem_type == MULTI:
        assert found["test/accuracy"] == 1.0
        assert [[p > 0.5 for p in row["probabilities"]] for row in rows] == [
            [bool(has_it) for has_it in row["predicted"]] for row in rows
        ]
        predictions = [row for each in batches for row in made.predict_step(each, 0)]
        assert [row["labels"] for row in predictions] == [
            [name for name, has_it in zip(NAMES, row["predicted"], strict=True) if has_it] for row in rows
        ]


def test_regression(tiny_bert: Path):
    made = task(tiny_bert, names=["value"], problem_type=REGRESSION)
    rows = batch([0.5, 2.0, 3.5], torch.float32)
    found = evaluate(made, [rows])
    made.eval()
    with torch.no_grad():
        values = made(rows).squeeze(-1)
    assert found["test/mse"] == pytest.approx(((values - rows["labels"]) ** 2).mean().item())
    assert found["test/loss"] == pytest.approx(found["test/mse"])
    assert {"test/mae", "test/pearson", "test/spearman"} <= set(found)
    assert made.monitor == ("val/loss", "min")
    assert made.predict_step(rows, 0)[0] == {"value": pytest.approx(values[0].item())}


def test_predictions_are_what_a_person_reads(tiny_bert: Path):
    made = task(tiny_bert).eval()
    predictions = made.predict_step(batch([0, 1]), 0)
    assert len(predictions) == 2
    for prediction in predictions:
        assert set(prediction["probabilities"]) == set(NAMES)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert prediction["score"] == max(prediction["probabilities"].values())
        assert prediction["probabilities"][prediction["label"]] == prediction["score"]


def test_a_checkpoint_is_tensors_and_plain_values(tiny_bert: Path, tmp_path: Path):
    made = task(tiny_bert)
    trainer = Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(made, DataLoader([batch([0, 1, 2])], batch_size=None))
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    saved = torch.load(tmp_path / "it.ckpt", weights_only=True)
    again = task(tiny_bert)
    again.load_state_dict(saved["state_dict"])
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


def test_mean_pooling_is_an_option_of_the_model(tiny_bert: Path):
    made = task(tiny_bert, pooling="mean")
    assert made(batch([0, 1])).shape == (2, 3)
    assert made.num_parameters()["parameters/total"] < task(tiny_bert).num_parameters()["parameters/total"]


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI, REGRESSION])
def test_a_row_of_several_windows_is_the_mean_of_their_logits(tiny_bert: Path, problem_type: str):
    made = task(tiny_bert, names=NAMES[:1] if problem_type == REGRESSION else NAMES, problem_type=problem_type).eval()
    labels = {SINGLE: [2, 0], MULTI: [[1, 0, 1], [0, 1, 0]], REGRESSION: [0.5, 2.0]}[problem_type]
    windows = batch([0] * 4)
    rows = {**windows, "labels": torch.tensor(labels) if problem_type == SINGLE else torch.tensor(labels).float()}
    with torch.no_grad():
        of_windows, logits = made(windows), made({**rows, "num_windows": [3, 1]})
    assert torch.equal(logits[1], of_windows[3])
    torch.testing.assert_close(logits[0], of_windows[:3].mean(dim=0))
    rows |= {"num_windows": [3, 1], "row_numbers": [0, 1]}
    assert len(made.predict_step(rows, 0)) == 2
    found, results = evaluate(made, [rows]), made.all_rows("test")
    assert [row["true"] for row in results] == labels
    assert [row["targets"] for row in results] == [1, 1]
    assert found["test/loss"] == pytest.approx(sum(row["loss"] for row in results) / 2, rel=1e-5)
    assert found["test/loss"] == pytest.approx(made.loss(logits, rows)[0].item(), rel=1e-5)


def test_a_book_is_predicted_some_windows_at_a_time(tiny_bert: Path):
    made = task(tiny_bert).eval()
    ids, sizes = torch.randint(5, 40, (150, 6)), []
    book = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "num_windows": [149, 1]}
    with torch.no_grad():
        wanted = made(book).softmax(dim=-1).tolist()
        made.model.register_forward_pre_hook(
            lambda _, args, given: sizes.append(len(given["input_ids"])), with_kwargs=True
        )
        found = [list(row["probabilities"].values()) for row in made.predict_step(book, 0)]
    assert sizes == [64, 64, 22]
    assert found == [pytest.approx(row, abs=1e-6) for row in wanted]


def test_a_run_that_reads_in_windows_is_used_like_any_other(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The word that decides stands where a cut text would not show it."""
    rng, rows = random.Random(0), []
    for number in range(120):
        label = ("negative", "positive")[number % 2]
        filler = rng.choices(WORDS["neither"], k=rng.randint(14, 40))
        rows.append(f"{' '.join(filler)} {' '.join(rng.choices(WORDS[label], k=6))},{label}")
    (tmp_path / "long.csv").write_text("\n".join(["text,label", *rows]))
    options = ["data=local", f"data.path={tmp_path / 'long.csv'}", "data.max_length=16", "data.batch_size=8"]
    figures = train_here(*options, "data.doc_stride=4", "trainer.max_epochs=4", "optimizer.lr=3e-3")
    assert figures["test/accuracy"] > 0.9
    samples = figures["train/samples_per_second"] * figures["train/seconds"]
    assert samples == pytest.approx(4 * 92), "rows are counted, not windows"
    run, text = str(tmp_path / "run"), rows[0].split(",")[0]
    cli.main(["evaluate", run])
    assert json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[0])["length"] > 16
    capsys.readouterr()
    cli.main(["predict", run, "--text", text, "--text", "good"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["label"] == "negative"
    loaded = lightune.load(run).predict(["good", text])
    assert [row["label"] for row in loaded] == [second["label"], "negative"]
    cli.main(["explain", run, "--text", text])
    assert "negative" in capsys.readouterr().out
    cli.main(["report", run])


SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
ARCHITECTURES = {
    "albert": AlbertConfig(**SMALL, embedding_size=16, intermediate_size=64),
    "bert": BertConfig(**SMALL, intermediate_size=64),
    "deberta": DebertaV2Config(
        **SMALL,
        intermediate_size=64,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
    ),
    "distilbert": DistilBertConfig(vocab_size=64, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    "electra": ElectraConfig(**SMALL, embedding_size=16, intermediate_size=64),
    "modernbert": ModernBertConfig(**SMALL, intermediate_size=64, pad_token_id=0, bos_token_id=2, eos_token_id=3),
    "roberta": RobertaConfig(**SMALL, intermediate_size=64, max_position_embeddings=40),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_shipped_architecture_trains_and_freezes(tmp_path: Path, name: str):
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(ARCHITECTURES[name]).save_pretrained(tmp_path)
    made = task(tmp_path, attention_dropout=0.0)
    made.training_step(batch([0, 1, 2]), 0).backward()
    without = [n for n, p in made.model.named_parameters() if p.grad is None]
    assert without == []
    freezing.frozen(made.model, num_layers=1)
    counts = made.num_parameters()
    assert 0 < counts["parameters/trainable"] < counts["parameters/total"]


@pytest.mark.parametrize(("accumulated", "wanted"), [(1, [False] * 4), (2, [True, False] * 2)])
def test_gradients_are_freed_after_each_step(tiny_bert: Path, accumulated: int, wanted: list[bool]):
    held: list[bool] = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, made: TextClassification, *_: object) -> None:
            held.append(any(parameter.grad is not None for parameter in made.parameters()))

    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulated,
        gradient_clip_val=1.0,
        callbacks=[Look()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    made = task(tiny_bert)
    before = [parameter.detach().clone() for parameter in made.parameters()]
    trainer.fit(made, DataLoader([batch([0, 1, 2])] * 4, batch_size=None))
    assert held == wanted
    assert any(not torch.equal(old, new) for old, new in zip(before, made.parameters(), strict=True))
