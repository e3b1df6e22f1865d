"""The model card of what is exported: README.md, with what the Hub searches by in front and what people ask below."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lightune.runs.scores import OVERALL

if TYPE_CHECKING:
    from lightune.runs.export.int8 import Comparison

PIPELINES = {
    "text_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "translation": "translation",
    "summarization": "summarization",
    "dialogue": "text-generation",
    "masked_lm": "fill-mask",
}
"""What the Hub calls each task."""

HUB_METRICS = {
    "matthews_corrcoef": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "bleu": "sacrebleu",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "rougeLsum": "rouge",
}
"""What the Hub calls a metric, where that is another name."""

STAGES = {"val": "validation", "test": "test"}
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "lightning", "peft")


def model_card(
    *,
    task_name: str,
    base: str,
    base_model: str | None,
    license_name: str | None,
    data: str,
    dataset: str | None,
    tags: Sequence[str],
    metrics: Mapping[str, float],
    chosen_by: str,
    options: Mapping[str, Any],
    command: str | None,
    snippet: str | None,
    holds: str,
    limits: Sequence[str],
    comparison: "Comparison | None" = None,
) -> ModelCard:
    """Write the card of one export.

    Args:
        task_name: as the configuration calls it.
        base: the pretrained model, as people call it.
        base_model: its name on the Hub, if it has one.
        license_name: the Hub's name of its license, if known.
        data: what it was trained on, as people call it.
        dataset: its name on the Hub, if it has one.
        tags: what else the Hub may find it by.
        metrics: ``val/…`` and ``test/…`` of the run; empty where it was not measured.
        chosen_by: the figure that chose the best checkpoint.
        options: the run's settings by their names.
        command: what repeats the run.
        snippet: a script that loads the folder.
        holds: what lies in the folder, a sentence.
        limits: what it cannot do, a sentence each.
        comparison: the model before and after quantization.
    """
    pipeline = PIPELINES.get(task_name)
    scores = [
        (stage, name, metrics[f"{stage}/{name}"])
        for stage in STAGES
        for name in OVERALL
        if math.isfinite(metrics.get(f"{stage}/{name}", math.nan))
    ]
    name = f"{base.rpartition('/')[2]} on {data.rpartition('/')[2]}"
    front = ModelCardData(
        base_model=base_model,
        datasets=[dataset] if dataset else None,
        library_name="peft" if "lora" in tags else None if "onnx" in tags else "transformers",
        license=license_name,
        metrics=list(
            dict.fromkeys(HUB_METRICS.get(metric, metric) for _, metric, _ in scores if metric != "loss")
        )
        or None,
        model_name=name if scores else None,
        pipeline_tag=pipeline,
        tags=list(tags) or None,
        eval_results=[
            EvalResult(
                task_type=pipeline or task_name,
                dataset_type=dataset or data,
                dataset_name=data,
                dataset_split=STAGES[stage],
                metric_type=HUB_METRICS.get(metric, metric),
                metric_name=metric,
                metric_value=round(value, 6),
            )
            for stage, metric, value in scores
        ]
        or None,
    )
    parts = [
        f"# {name}",
        f"`{base}`, fine-tuned for {task_name.replace('_', ' ')} on {data}. {holds}",
        *([f"## How to load it\n\n```python\n{snippet}\n```"] if snippet else []),
        *_scores(scores, chosen_by=chosen_by),
        *([_comparison(comparison)] if comparison is not None else []),
        "## How it was trained",
        *([f"```bash\n{command}\n```"] if command else []),
        _table(("option", "value"), [(f"`{option}`", f"`{value}`") for option, value in options.items()]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits),
        "## Versions\n\nExported with Python " + platform.python_version() + ", "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES) + ".",
    ]  # fmt: skip
    return ModelCard(f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n")


def compared(comparison: "Comparison") -> list[tuple[str, ...]]:
    """Return the rows of the table that compares float32 with int8."""
    before, after = comparison.float32, comparison.int8
    return [
        ("size", f"{before.size / 1e6:.1f} MB", f"{after.size / 1e6:.1f} MB"),
        ("rows a second", *(f"{comparison.rows / one.seconds:.1f}" for one in (before, after))),
        *(
            (name, f"{before.figures[name]:.4f}", f"{after.figures[name]:.4f}")
            for name in OVERALL
            if name in before.figures
        ),
    ]  # fmt: skip


def _comparison(comparison: "Comparison") -> str:
    return (
        "## What int8 costs\n\n"
        + _table(("", "float32", "int8"), compared(comparison))
        + f"\n\nOn {comparison.rows:,} rows of test, by onnxruntime on {platform.machine()}, batches computed in turn: "
        f"{comparison.times_as_fast:.2f} times as fast, a file of {1 / comparison.times_as_small:.0%} of the size."
    )


def _scores(scores: Sequence[tuple[str, str, float]], *, chosen_by: str) -> list[str]:
    if not scores:
        return []
    values = {(stage, name): value for stage, name, value in scores}
    stages = [stage for stage in STAGES if any(stage == one for one, _, _ in scores)]
    rows = [
        (name, *(f"{values[stage, name]:.4f}" if (stage, name) in values else "" for stage in stages))
        for name in dict.fromkeys(name for _, name, _ in scores)
    ]
    return [
        "## Scores",
        _table(("", *(STAGES[stage] for stage in stages)), rows),
        f"Of the checkpoint that was best by `{chosen_by}`; the rows of test had no part in any choice.",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
