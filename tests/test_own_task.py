"""A task in a package of one's own: one class, one preprocessor, one YAML, and every command works or says why not."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TRAIN, WORDS, command

from lightune.commands import cli
from lightune.sweeps.trial import read_trial

TASK = '''
"""Ratings in order: 1, 2, 3 or more stars; to take 1 for 3 is worse than to take 2 for 3."""

import torch
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, MetricCollection
from transformers import AutoModelForSequenceClassification

from lightune.tasks import Task


class Rating(Task):
    """One logit for each step between two ratings: whether a text is above it."""

    monitor = ("val/star_error", "min")
    auto_class = AutoModelForSequenceClassification
    fitting_models = "model=minilm, bert, …"

    def __init__(self, *, pretrained, head, recipe):
        model = pretrained.load_model(self.auto_class, **head)
        metrics = MetricCollection({"star_error": MeanAbsoluteError()})
        super().__init__(model=model, metrics=metrics, recipe=recipe)

    def loss(self, logits, batch):
        steps = torch.arange(logits.shape[1], device=logits.device) + 1
        above = (batch["labels"][:, None] > steps).float()
        return functional.binary_cross_entropy_with_logits(logits, above), len(above)

    def update(self, metrics, logits, batch):
        metrics.update(self._stars(logits), batch["labels"])

    def row_results(self, logits, batch):
        losses = [self.loss(row[None], {"labels": label[None]})[0].item() for row, label in zip(logits, batch["labels"])]
        found = zip(losses, batch["labels"].tolist(), self._stars(logits).tolist())
        return [{"loss": loss, "targets": 1, "true": true, "predicted": stars} for loss, true, stars in found]

    def predict_step(self, batch, batch_idx):
        return [{"stars": stars} for stars in self._stars(self(batch)).tolist()]

    def _stars(self, logits):
        return 1 + (logits > 0).sum(dim=1)
'''
PREPROCESSOR = '''
"""Texts with a number of stars."""

import torch

from lightune.data.preprocessors.columns import check_columns, check_texts


class RatingPreprocessor:
    """Tokenize a text column; the other column holds whole numbers from 1."""

    def __init__(self, *, tokenizer, text_column: str, stars_column: str, max_length: int):
        self.tokenizer = tokenizer
        self.input_columns = [text_column]
        self.stars_column = stars_column
        self.max_length = max_length
        self.head = {}

    def fit(self, train):
        check_columns(train, {"stars_column": self.stars_column}, split="train")
        self.head = {"num_labels": max(train[self.stars_column]) - 1}

    def prepare(self, rows, *, split, labelled=True):
        check_columns(rows, {"text_column": self.input_columns[0]}, split=split)
        check_texts(rows, self.input_columns, split=split)
        names = {self.input_columns[0]: "text"} | ({self.stars_column: "labels"} if labelled else {})
        return rows.select_columns(list(names)).rename_columns({a: b for a, b in names.items() if a != b})

    def strata(self, prepared):
        return list(prepared["labels"])

    def __call__(self, examples, *, training):
        features = dict(self.tokenizer(examples["text"], truncation=True, max_length=self.max_length))
        labels = {"labels": examples["labels"]} if "labels" in examples else {}
        return features | labels | {"length": [len(ids) for ids in features["input_ids"]]}

    def collate(self, features, *, few_widths=False):
        inputs = [{k: v for k, v in row.items() if k not in ("labels", "length")} for row in features]
        batch = dict(self.tokenizer.pad(inputs, return_tensors="pt"))
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in features])
        return batch
'''
YAML = """\
# @package _global_
task_name: star_rating

task:
  _target_: rating.task.Rating

preprocessor:
  _target_: rating.preprocessor.RatingPreprocessor

data:
  text_column: text
  stars_column: stars
  max_length: 32
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A search over two learning rates with the task, by ``train.py`` as a user runs it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "star_rating.yaml").write_text(YAML)
    (folder / "rating").mkdir()
    (folder / "rating" / "task.py").write_text(TASK)
    (folder / "rating" / "preprocessor.py").write_text(PREPROCESSOR)
    texts = {1: "neither", 2: "negative", 3: "positive"}
    rows = [{"text": f"{WORDS[texts[stars]][i % 5]} film", "stars": stars} for i in range(40) for stars in texts]
    (folder / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command(
        TRAIN, "--config-dir", str(folder / "conf"), "-m", "task=star_rating", "data=local",
        f"data.path={folder / 'reviews.jsonl'}", f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.batch_size=8",
        "sweep=random", "sweep.n_trials=2", "sweep.seed=0", "optimizer.lr=2e-4,3e-3", "trainer=cpu", "trainer.max_epochs=2",
        f"hydra.sweep.dir={folder / 'sweep'}",
        cwd=folder, **environment(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder / "sweep"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables by which a user allows the package, and has Python find it."""
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return {"PYTHONPATH": path, "LIGHTUNE_ALLOWED_TARGETS": "rating"}


@pytest.fixture
def lightune(sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command on the sweep or one of its runs; return what it printed, errors too."""
    monkeypatch.syspath_prepend(str(sweep.parent))
    monkeypatch.setenv("LIGHTUNE_ALLOWED_TARGETS", "rating")

    def run(name: str, *arguments: object, fails: bool = False) -> str:
        capsys.readouterr()
        if fails:
            with pytest.raises(SystemExit) as caught:
                cli.main([name, *map(str, arguments)])
            assert caught.value.code not in (0, None)
        else:
            cli.main([name, *map(str, arguments)])
        printed = capsys.readouterr()
        assert not fails or len(printed.err.splitlines()) <= 5
        return printed.out + printed.err

    return run


def test_training_prints_the_tasks_own_metric_and_the_next_command(sweep: Path):
    printed = (sweep.parent / "printed.txt").read_text()
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    assert re.search(rf"star_error\W+{metrics['val/star_error']:.4f}\W+{metrics['test/star_error']:.4f}", printed)
    assert "lightune predict" in printed


def test_the_leaderboard_knows_which_way_the_metric_goes(sweep: Path, lightune):
    printed = lightune("leaderboard", sweep)
    trials = [read_trial(sweep / number) for number in ("0", "1")]
    assert {(trial.metric, trial.mode) for trial in trials} == {("val/star_error", "min")}
    best = min(trials, key=lambda trial: trial.value)
    assert f"best: {best.folder}" in printed


def test_a_run_is_evaluated_and_predicts(sweep: Path, lightune):
    metrics = json.loads((sweep / "1" / "metrics.json").read_text())
    assert f"{metrics['test/star_error']:.4f}" in lightune("evaluate", sweep / "1")
    printed = lightune("predict", sweep / "1", "--text", "superb film", "--text", "dire film")
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [row["text"] for row in rows] == ["superb film", "dire film"]
    assert all(row["stars"] in (1, 2, 3) for row in rows)


def test_a_report_shows_its_figures_and_rows_and_runs_are_compared(sweep: Path, tmp_path: Path, lightune):
    lightune("report", sweep / "0", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    assert f"{metrics['test/star_error']:.4f}" in page
    assert re.search(r"row \d+ · loss [\d.]+ · is \d, predicted \d", page)
    assert "star_error" in page
    lightune("report", sweep / "0", sweep / "1", "--out", tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert "star_error" in page and "Where A and B differ" in page


def test_the_card_of_an_export_names_the_task_and_its_scores(sweep: Path, tmp_path: Path, lightune):
    from transformers import AutoModelForSequenceClassification

    lightune("export", sweep / "0", "--out", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fine-tuned for star rating on reviews.jsonl" in card
    assert "| star_error |" in card
    assert "pipeline_tag" not in card and "```python" not in card  # the task says neither
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.num_labels == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["explain", "RUN", "--text", "superb film"], "is a run of star_rating, whose class does not say which output"),
        (["export", "RUN", "--out", "OUT", "--format", "onnx"], "This run is Rating:\nits class names no outputs"),
        (["export", "RUN", "--out", "OUT", "--adapter"], "it was not trained with tuning=lora"),
        (["predict", "RUN", "--text", "x", "--text-pair", "y"], "reads the column(s) text: give --text alone"),
    ],
)  # fmt: skip
def test_a_command_that_does_not_fit_the_task_says_so(
    sweep: Path, tmp_path: Path, lightune, arguments: list[str], reason: str
):
    places = {"RUN": str(sweep / "0"), "OUT": str(tmp_path / "out")}
    assert reason in lightune(*(places.get(argument, argument) for argument in arguments), fails=True)
    assert not (tmp_path / "out").exists()


def test_a_package_that_nobody_allowed_is_not_run(sweep: Path, monkeypatch: pytest.MonkeyPatch, lightune):
    monkeypatch.delenv("LIGHTUNE_ALLOWED_TARGETS")
    assert "rating.task.Rating is refused" in lightune("predict", sweep / "0", "--text", "x", fails=True)
