"""The metric of docs/guides/own-metric.md."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, TRAIN, command, write_reviews

GUIDE = (ROOT / "docs/guides/own-metric.md").read_text()


def test_it_chooses_the_checkpoint_and_is_the_same_wherever_it_is_shown(tmp_path: Path, tiny_bert: Path):
    for language, file in (
        ("python", "src/prices/metric.py"),
        ("toml", "pyproject.toml"),
        ("yaml", "conf/experiment/prices.yaml"),
    ):
        [text] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    write_reviews(tmp_path / "reviews.csv", 80)
    trained = command(
        TRAIN, "experiment=prices", "data=local", "data.path=reviews.csv", "data.max_length=32", "trainer=cpu",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", "trainer.max_epochs=2", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["monitored"] == metrics["val/cost"]
    rows = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    costs = [{(1, 0): 10.0, (0, 1): 1.0}.get((row["true"], row["predicted"]), 0.0) for row in rows]
    assert metrics["test/cost"] == pytest.approx(sum(costs) / len(costs))
    shown = command("-m", "lightune.commands", "evaluate", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for printed in (trained.stdout, shown.stdout):
        assert re.search(rf"cost\W+{metrics['val/cost']:.4f}\W+{metrics['test/cost']:.4f}", printed)
    assert "cost" in (tmp_path / "run/report.html").read_text()
