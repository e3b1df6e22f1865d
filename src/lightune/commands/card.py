"""What the model card says of a run, out of its folder."""

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightune.common import package_index
from lightune.config import overrides_of
from lightune.config.credentials import redact
from lightune.config.walk import flat

if TYPE_CHECKING:
    from lightune.data.preprocessors.base import Preprocessor
    from lightune.runs.export.int8 import Comparison
    from lightune.tasks import Task

OPTIONS = (
    *(
        "model.pooling",
        "model.attention_dropout",
        "data.batch_size",
        "data.max_tokens_per_batch",
        "data.max_length",
    ),
    *(
        "data.truncation",
        "data.max_train_samples",
        "trainer.max_epochs",
        "trainer.max_steps",
        "trainer.precision",
    ),
    *("trainer.accumulate_grad_batches", "trainer.gradient_clip_val", "layerwise_lr_decay", "seed"),
)
GROUPS = ("tuning.", "optimizer.", "scheduler.")
HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


def write_card(
    folder: Path,
    *,
    run: Path,
    cfg: DictConfig,
    task: "Task",
    preprocessor: "Preprocessor",
    onnx: bool,
    adapter: bool,
    comparison: "Comparison | None",
) -> None:
    """Write ``README.md`` into what is exported."""
    from lightune.runs.export.card import model_card
    from lightune.runs.export.snippet import snippet

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    base, base_model, license_name = _base(plain["model"])
    data, dataset = _data(plain["data"]["path"])
    values = {
        name: value
        for name, value in flat(plain)
        if value is not None
        and (name in OPTIONS or name.startswith(GROUPS))
        and not name.endswith("_partial_")
    }
    metrics = run / "metrics.json"
    command = overrides_of(run)
    card = model_card(
        task_name=plain["task_name"],
        base=base,
        base_model=base_model,
        license_name=license_name,
        data=data,
        dataset=dataset,
        tags=[*(["lora"] if adapter else []), *(["onnx"] if onnx else []), *(["int8"] if comparison else [])],
        metrics=json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {},
        chosen_by=plain["monitor"]["metric"] or task.monitor[0],
        options=values,
        command=None if command is None else redact(shlex.join(["python", "train.py", *command])),
        snippet=snippet(
            task,
            preprocessor,
            task_name=plain["task_name"],
            onnx=onnx,
            adapter_of=(base_model or plain["model"]["pretrained_model_name_or_path"]) if adapter else None,
        ),
        holds=_holds(onnx=onnx, adapter=adapter, int8=comparison is not None),
        limits=_limits(plain, task),
        comparison=comparison,
    )
    (folder / "README.md").write_text(str(card), encoding="utf-8")


def _holds(*, onnx: bool, adapter: bool, int8: bool) -> str:
    if adapter:
        return "This folder holds the LoRA adapter, the head and the tokenizer."
    if onnx:
        weights = "weights in int8" if int8 else "in float32"
        return f"This folder holds the model as an ONNX graph ({weights}, any number of rows and tokens) and the tokenizer."
    return "This folder holds the whole model and the tokenizer."


def _base(model: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Return what the pretrained model is called, its name on the Hub and its license there, where known."""
    name = model["pretrained_model_name_or_path"]
    if model["from_run"] is not None:
        return f"the run {Path(model['from_run']).name}", None, None
    if name.startswith(package_index.PREFIX):
        artifact = package_index.ARTIFACTS[name.removeprefix(package_index.PREFIX)]
        return artifact.hub_name or name, artifact.hub_name, artifact.license_name
    return (name, name, None) if _is_on_hub(name) else (Path(name).name, None, None)


def _data(path: str | dict[str, str]) -> tuple[str, str | None]:
    """Return what the data set is called, and its name on the Hub; of local files no more than their names."""
    if isinstance(path, dict):
        return ", ".join(Path(file).name for file in path.values() if file), None
    if path.startswith(package_index.PREFIX):
        return path.removeprefix(package_index.PREFIX), None
    return (path, path) if _is_on_hub(path) else (Path(path).name, None)


def _is_on_hub(name: str) -> bool:
    return HUB_NAME.fullmatch(name) is not None and not Path(name).exists() and not Path(name).suffix


def _limits(plain: dict[str, Any], task: "Task") -> list[str]:
    limits = [
        "Which languages and subjects it serves is what its data held: it was measured on rows like those it was trained on, on nothing else.",
        "The scores are of one run; another seed gives others.",
    ]
    length = plain["data"].get("max_length")
    if length is not None:
        cut = plain["data"].get("truncation")
        which = (
            ""
            if cut in (None, "head")
            else f" (in training data.truncation={cut} chose what stays; the lines above keep the head)"
        )
        limits.append(f"It was trained and measured on at most {length} tokens at a time{which}.")
    if task.label_names:
        limits.append(
            f"It knows these labels and no others: {', '.join(f'`{name}`' for name in task.label_names)}."
        )
    limits.append(
        "What its pretrained model has learned of prejudice and error it may repeat; that was not measured."
    )
    return limits
