"""The lines of Python on a model card that load the exported folder; they need nothing of this package."""

from lightune.data.preprocessors.base import Preprocessor
from lightune.models.model_with_head import ModelWithHead
from lightune.tasks import Task
from lightune.tasks.export_usage import Usage


def snippet(task: Task, preprocessor: Preprocessor, *, onnx: bool = False, adapter_of: str | None = None) -> str | None:
    """Return a script that loads the folder and uses the model once; None where the task does not say how."""
    usage = task.usage(preprocessor, tensors="np" if onnx else "pt")
    if usage is None:
        return None
    outputs = task.onnx_outputs or ("logits",)
    return _onnx(usage, outputs) if onnx else _transformers(task, usage, outputs, adapter_of=adapter_of)


def _onnx(usage: Usage, outputs: tuple[str, ...]) -> str:
    return f"""\
import onnxruntime
from transformers import AutoConfig, AutoTokenizer

folder = "."  # this folder
tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
inputs = {usage.inputs}
feeds = {{node.name: inputs[node.name] for node in session.get_inputs()}}
{", ".join(outputs) if len(outputs) > 1 else f"({outputs[0]},)"} = session.run(None, feeds)
{usage.output}"""


def _transformers(task: Task, usage: Usage, outputs: tuple[str, ...], *, adapter_of: str | None) -> str | None:
    if task.auto_class is None:
        return None
    auto_class = task.auto_class.__name__
    computed = (
        ["written = model.generate(**inputs)"]
        if task.streams
        else ["outputs = model(**inputs)", *(f"{name} = outputs.{name}" for name in outputs)]
    )
    own_code = ", trust_remote_code=True" if isinstance(task.model, ModelWithHead) else ""
    base = f"folder{own_code}" if adapter_of is None else f'"{adapter_of}"{_head(task)}'
    lines = [
        "import torch",
        *(["from peft import PeftModel"] if adapter_of is not None else []),
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        'folder = "."  # this folder, or its name on the Hub',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {auto_class}.from_pretrained({base})",
        *(["model = PeftModel.from_pretrained(model, folder)"] if adapter_of is not None else []),
        "config = model.config",
        f"inputs = {usage.inputs}",
        "with torch.no_grad():",
        *(f"    {line}" for line in computed),
        usage.output,
    ]
    return "\n".join(lines)


def _head(task: Task) -> str:
    """Return the arguments that the pretrained model needs for an adapter's head to fit."""
    config = task.model.config
    arguments = {"pad_token_id": config.pad_token_id}
    if task.label_names:
        arguments["id2label"] = dict(config.id2label)
    if getattr(config, "is_decoder", False):
        arguments["is_decoder"] = True
    return "".join(f", {name}={value!r}" for name, value in arguments.items())
