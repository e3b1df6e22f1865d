"""A run's best model as a folder that transformers or peft loads without this package."""

import copy
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from lightune.common.errors import UserError
from lightune.models.pooling import PooledClassifier
from lightune.tuning.lora import merge

TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""What peft calls the tasks, by the ends of transformers' class names."""

WHOLE_MODEL = "Export the whole model: leave --adapter out."


def save_merged(model: Any, folder: Path) -> None:
    """Write weights as safetensors, and the configuration.

    Args:
        model: with its weights; its adapters are merged in place.
        folder: to write into.

    Raises:
        UserError: transformers has no class for the model.
    """
    _check_loadable(model)
    merge(model)
    model.save_pretrained(folder)


def save_adapter(model: Any, folder: Path, *, base: str, revision: str | None) -> None:
    """Write adapters and head as peft does: what ``PeftModel.from_pretrained`` reads beside the pretrained model.

    Args:
        model: with its weights and adapters.
        folder: to write into.
        base: the pretrained model, by the name that transformers knows.
        revision: of that model on the Hub.

    Raises:
        UserError: the model has no adapters, or transformers has no class for it.
    """
    _check_loadable(model)
    if not hasattr(model, "peft_config"):
        raise UserError(f"This run has no adapter: it was not trained with tuning=lora.\n{WHOLE_MODEL}")
    if model.config.model_type == "encoder-decoder":
        raise UserError(
            "This run uses an encoder twice, and transformers loads no such model by one name for an adapter to be added to.\n"
            f"{WHOLE_MODEL}"
        )
    saved_whole: set[str] = set()  # modules that peft must replace
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            in_body = name.startswith(f"{model.base_model_prefix}.")
            saved_whole.add(name.rpartition(".")[0] if in_body else name.split(".")[0])
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, tensor in model.state_dict().items():
        if any(name.startswith(f"{module}.") for module in saved_whole):
            state[name] = tensor
    config = copy.deepcopy(model.peft_config["default"])
    config.base_model_name_or_path = base
    config.revision = revision
    config.inference_mode = True
    config.exclude_modules = None
    config.modules_to_save = sorted(saved_whole) or None
    kind = type(model).__name__
    config.task_type = next((TASK_TYPES[end] for end in TASK_TYPES if kind.endswith(end)), None)
    config.save_pretrained(folder)
    tensors = {f"base_model.model.{name}": tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _check_loadable(model: Any) -> None:
    if isinstance(model, PooledClassifier):
        raise UserError(
            "This run's head stands on pooled hidden states (model.pooling), for which transformers has no class.\n"
            "Export it as a graph: --format onnx. Or train with the architecture's own head: model.pooling=null"
        )
    if not isinstance(model, PreTrainedModel):
        raise UserError(
            f"This run's model is a {type(model).__name__}, a class of its own that transformers does not load.\n"
            "lightune predict and lightune serve use it as it is."
        )
