"""The model card of an export: README.md, with the Hub's search terms in front and what people ask below."""

import json
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lightune.config import overrides_of
from lightune.config.credentials import redact
from lightune.config.nested import flat
from lightune.data.preprocessors.base import Preprocessor
from lightune.models.model_with_head import EXPORTED_CODE, ModelWithHead
from lightune.runs.export.int8 import Comparison
from lightune.runs.export.snippet import snippet
from lightune.runs.export.source import Source, source_of_data, source_of_model
from lightune.runs.score_table import overall
from lightune.tasks import Task

OPTIONS = (
    "model.pooling", "model.attention_dropout", "data.batch_size", "data.max_tokens_per_batch", "data.max_length",
    "data.truncation", "data.doc_stride", "data.max_train_samples", "data.max_train_samples_per_class",
    "trainer.max_epochs", "trainer.max_steps", "trainer.precision", "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val", "layerwise_lr_decay", "seed",
)  # fmt: skip
GROUPS = ("task.head.", "task.criterion.", "task.class_weights", "tuning.", "optimizer.", "scheduler.")
HUB_METRICS = {
    "matthews_corrcoef": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "bleu": "sacrebleu",
    **dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), "rouge"),
}
"""The Hub's names of metrics, where they differ."""

STAGES = {"val": "validation", "test": "test"}
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "lightning", "peft")


def write_card(
    folder: Path,
    *,
    run: Path,
    config: Mapping[str, Any],
    task: Task,
    preprocessor: Preprocessor,
    onnx: bool,
    adapter: bool,
    comparison: Comparison | None,
) -> None:
    """Write ``README.md`` into a folder that holds a model, whole or as an ``adapter`` alone, or its ONNX graph.

    ``run`` is the run's folder, ``config`` its settings, resolved; ``comparison`` is there where weights are in int8.
    """
    model, metrics, overrides = config["model"], run / "metrics.json", overrides_of(run)
    base = source_of_model(model)
    tags = {"lora": adapter, "onnx": onnx, "int8": comparison is not None}
    card = model_card(
        task_name=config["task_name"],
        pipeline_tag=task.pipeline_tag,
        base=base,
        data=source_of_data(config["data"]["path"]),
        tags=[tag for tag, applies in tags.items() if applies],
        metrics=json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {},
        chosen_by=config["monitor"]["metric"] or task.monitor[0],
        options={name: value for name, value in flat(config) if _is_shown(name) and value is not None},
        command=None if overrides is None else redact(shlex.join(["python", "train.py", *overrides])),
        snippet=snippet(
            task,
            preprocessor,
            onnx=onnx,
            adapter_of=(base.hub_name or model["pretrained_model_name_or_path"]) if adapter else None,
        ),
        contents=_contents(task, onnx=onnx, adapter=adapter, int8=comparison is not None),
        limits=_limits(config["data"], task),
        comparison=comparison,
    )
    (folder / "README.md").write_text(str(card), encoding="utf-8")


def model_card(
    *,
    task_name: str,
    pipeline_tag: str | None,
    base: Source,
    data: Source,
    tags: Sequence[str],
    metrics: Mapping[str, float],
    chosen_by: str,
    options: Mapping[str, Any],
    command: str | None,
    snippet: str | None,
    contents: str,
    limits: Sequence[str],
    comparison: Comparison | None = None,
) -> ModelCard:
    """Return the card of one export: what the Hub reads of it, then what people do."""
    scores = [
        (stage, name, metrics[f"{stage}/{name}"])
        for stage in STAGES
        for name in overall(metrics)
        if math.isfinite(metrics.get(f"{stage}/{name}", math.nan))
    ]
    name = f"{base.name.rpartition('/')[2]} on {data.name.rpartition('/')[2]}"
    results = [
        EvalResult(
            task_type=pipeline_tag or task_name,
            dataset_type=data.hub_name or data.name,
            dataset_name=data.name,
            dataset_split=STAGES[stage],
            metric_type=HUB_METRICS.get(metric, metric),
            metric_name=metric,
            metric_value=round(value, 6),
        )
        for stage, metric, value in scores
    ]
    front = ModelCardData(
        base_model=base.hub_name,
        datasets=[data.hub_name] if data.hub_name else None,
        library_name="peft" if "lora" in tags else None if "onnx" in tags else "transformers",
        license=base.license_name,
        metrics=[*dict.fromkeys(one.metric_type for one in results if one.metric_name != "loss")] or None,
        model_name=name if scores else None,
        pipeline_tag=pipeline_tag,
        tags=[*tags] or None,
        eval_results=results or None,
    )
    parts = [
        f"# {name}",
        f"`{base.name}`, fine-tuned for {task_name.replace('_', ' ')} on {data.name}. {contents}",
        *([f"## How to load it\n\n```python\n{snippet}\n```"] if snippet else []),
        *_scores(scores, chosen_by=chosen_by),
        *([_comparison(comparison)] if comparison is not None else []),
        "## How it was trained",
        *([f"```bash\n{command}\n```"] if command else []),
        _table(("option", "value"), [(f"`{option}`", f"`{value}`") for option, value in options.items()]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits),
        f"## Versions\n\nExported with Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        + ".",
    ]
    return ModelCard(f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n")


def _is_shown(option: str) -> bool:
    return option in OPTIONS or (option.startswith(GROUPS) and not option.endswith("_partial_"))


def _contents(task: Task, *, onnx: bool, adapter: bool, int8: bool) -> str:
    if adapter:
        return "This folder holds the LoRA adapter, the head and the tokenizer."
    if onnx:
        weights = "weights in int8" if int8 else "in float32"
        return f"This folder holds the model as an ONNX graph ({weights}, any number of rows and tokens) and the tokenizer."
    code = f" Transformers has no class for its head: `{EXPORTED_CODE}` holds it, which `trust_remote_code=True` runs."
    return (
        f"This folder holds the whole model and the tokenizer.{code if isinstance(task.model, ModelWithHead) else ''}"
    )


def _limits(data: Mapping[str, Any], task: Task) -> list[str]:
    limits = [
        "Its data decides which languages and subjects it serves: it was measured on rows like those it was trained on, on nothing else.",
        "The scores are of one run; another seed gives others.",
    ]
    if (length := data.get("max_length")) is not None:
        cut, part = data.get("truncation"), ""
        if cut not in (None, "head"):
            part = f" (in training data.truncation={cut} chose what stays; the lines above keep the head)"
        elif cut and data.get("doc_stride") is not None:
            part = " (the lines above read a longer text in windows, as in training; a pipeline reads the first alone)"
        limits.append(f"It was trained and measured on at most {length} tokens at a time{part}.")
    if task.label_names:
        names = ", ".join(f"`{name}`" for name in task.label_names)
        limits.append(f"It knows these labels and no others: {names}.")
    return [*limits, "It may repeat prejudice and errors of its pretrained model; that was not measured."]


def _comparison(comparison: Comparison) -> str:
    return (
        f"## What int8 costs\n\n{_table(('', 'float32', 'int8'), comparison.table())}\n\n"
        f"On {comparison.rows:,} rows of test, by onnxruntime on {platform.machine()}, batches computed in turn: "
        f"{comparison.times_as_fast:.2f} times as fast, a file of {comparison.int8.size / comparison.float32.size:.0%} of the size."
    )


def _scores(scores: Sequence[tuple[str, str, float]], *, chosen_by: str) -> list[str]:
    if not scores:
        return []
    values = {(stage, name): f"{value:.4f}" for stage, name, value in scores}
    stages = [*dict.fromkeys(stage for stage, _, _ in scores)]
    names = dict.fromkeys(name for _, name, _ in scores)
    rows = [(name, *(values.get((stage, name), "") for stage in stages)) for name in names]
    return [
        "## Scores",
        _table(("", *(STAGES[stage] for stage in stages)), rows),
        f"Of the checkpoint that was best by `{chosen_by}`; the rows of test had no part in any choice.",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
