"""The card says what the Hub searches by, and what was measured."""

from pathlib import Path

from huggingface_hub import ModelCard

from lightune.runs.export.card import model_card
from lightune.runs.export.source import Source
from lightune.tasks import TextClassification


def card(**changes: object) -> ModelCard:
    settings = {
        "task_name": "text_classification", "pipeline_tag": TextClassification.pipeline_tag,
        "base": Source("a/base", "a/base"), "data": Source("reviews.csv"), "tags": [],
        "chosen_by": "val/accuracy", "command": "python train.py",
        "metrics": {"val/accuracy": 0.5, "test/accuracy": 0.75, "test/f1": float("nan"), "train/seconds": 3.0},
        "options": {"seed": 0}, "snippet": "print(1)", "contents": "All.", "limits": ["None."],
    }  # fmt: skip
    return model_card(**(settings | changes))  # type: ignore[arg-type]


def test_the_front_matter_is_the_hubs(tmp_path: Path):
    (tmp_path / "README.md").write_text(str(card()))
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.base_model, data.pipeline_tag, data.library_name) == (
        "a/base",
        "text-classification",
        "transformers",
    )
    assert data.metrics == ["accuracy"]
    scores = {result.dataset_split: result.metric_value for result in data.eval_results}
    assert scores == {"validation": 0.5, "test": 0.75}
    for unknown in ("license", "language", "datasets"):
        assert getattr(data, unknown) is None


def test_a_run_that_was_not_measured_has_no_scores():
    text = str(card(metrics={}, command=None, snippet=None))
    assert "## Scores" not in text and "model-index" not in text and "```" not in text
