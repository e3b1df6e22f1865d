"""A run's best model as a folder that transformers, or peft, loads with nothing of this package at hand."""

import copy
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from lightune.common.errors import UserError


def check_loadable(model: Any) -> None:
    """Look whether transformers has a class for a model.

    Raises:
        UserError: it has none.
    """
    if not isinstance(model, PreTrainedModel):
        raise UserError(
            "This run's head stands on pooled hidden states (model.pooling), for which transformers has no class.\n"
            "Export it as a graph: --format onnx. Or train with the architecture's own head: model.pooling=null"
        )


def save_merged(model: Any, folder: Path) -> None:
    """Write weights as safetensors, and the configuration.

    Args:
        model: with its weights; its adapters are merged in place.
        folder: where to.

    Raises:
        UserError: transformers has no class for the model.
    """
    from lightune.tuning.lora import merge

    check_loadable(model)
    merge(model)
    model.save_pretrained(folder)


def save_adapter(model: Any, folder: Path, *, base: str, revision: str | None) -> None:
    """Write adapters and head as peft does: what ``PeftModel.from_pretrained`` reads beside the pretrained model.

    Args:
        model: with its weights and adapters.
        folder: where to.
        base: the pretrained model, by the name that transformers knows.
        revision: of that model on the Hub.

    Raises:
        UserError: the model has no adapters, or transformers has no class for it.
    """
    check_loadable(model)
    if not hasattr(model, "peft_config"):
        raise UserError(
            "This run has no adapter: it was not trained with tuning=lora.\n"
            "Export the whole model: leave --adapter out."
        )
    if model.config.model_type == "encoder-decoder":
        raise UserError(
            "An encoder that is used twice is no model that transformers loads by one name, for an adapter to stand on.\n"
            "Export the whole model: leave --adapter out."
        )
    save(model, folder, base=base, revision=revision)


TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""What peft calls the tasks, by the ends of transformers' class names."""


def save(model: Any, folder: Path, *, base: str, revision: str | None) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as peft reads them, the head among the latter.

    Args:
        model: with adapters.
        folder: where to.
        base: name or folder of the pretrained model.
        revision: of it.
    """
    whole: set[str] = set()  # modules that peft must replace
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            in_body = name.startswith(f"{model.base_model_prefix}.")
            whole.add(name.rpartition(".")[0] if in_body else name.split(".")[0])
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, tensor in model.state_dict().items():
        if any(name.startswith(f"{module}.") for module in whole):
            state[name] = tensor
    config = copy.deepcopy(model.peft_config["default"])
    config.base_model_name_or_path = base
    config.revision = revision
    config.inference_mode = True
    config.exclude_modules = None
    config.modules_to_save = sorted(whole) or None
    kind = type(model).__name__
    config.task_type = next((TASK_TYPES[end] for end in TASK_TYPES if kind.endswith(end)), None)
    config.save_pretrained(folder)
    tensors = {f"base_model.model.{name}": tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
