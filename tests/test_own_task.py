"""The task of docs/guides/own-task.md: one class, one preprocessor, one YAML, and every command works or says why not."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, TRAIN, WORDS, command

from lightune.commands import cli
from lightune.sweeps.trial import read_trial

GUIDE = (ROOT / "docs/guides/own-task.md").read_text()
[TASK, PREPROCESSOR] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
[PYPROJECT] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
[YAML] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A search over two learning rates with the task, by ``train.py`` as a user runs it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "star_rating.yaml").write_text(YAML)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    package = folder / "src" / "rating"
    package.mkdir(parents=True)
    (package / "task.py").write_text(TASK)
    (package / "preprocessor.py").write_text(PREPROCESSOR)
    texts = {1: "neither", 2: "negative", 3: "positive"}
    rows = [{"text": f"{WORDS[texts[stars]][i % 5]} film", "stars": stars} for i in range(40) for stars in texts]
    (folder / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command(
        TRAIN, "-m", "task=star_rating", "data=local",
        f"data.path={folder / 'reviews.jsonl'}", f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.batch_size=8",
        "sweep=random", "sweep.n_trials=2", "sweep.seed=0", "optimizer.lr=2e-4,3e-3", "trainer=cpu", "trainer.max_epochs=2",
        f"hydra.sweep.dir={folder / 'sweep'}",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder / "sweep"


@pytest.fixture
def lightune(sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command on the sweep or one of its runs; return what it printed, errors too."""
    monkeypatch.chdir(sweep.parent)

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


def test_a_package_is_not_run_outside_the_project_that_names_it(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lightune
):
    monkeypatch.chdir(tmp_path)
    assert "rating.task.Rating is refused" in lightune("predict", sweep / "0", "--text", "x", fails=True)
