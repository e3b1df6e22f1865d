"""LoRA by the peft library, put into the layers in place: the model stays the one that transformers made."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL_TARGETS
from safetensors.torch import save_file
from torch import nn
from transformers import EncoderDecoderConfig
from transformers.pytorch_utils import Conv1D

from lightune.common.errors import UserError, listed
from lightune.config.options import Count, Share
from lightune.tuning.fixed import Tuning, head

ALL = "all-linear"
TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""What peft calls the tasks, by the ends of transformers' class names."""


def lora(
    model: nn.Module,
    *,
    r: Count,
    alpha: int,
    dropout: Share,
    target_modules: list[str] | str | None,
    use_rslora: bool,
    use_dora: bool,
) -> Tuning:
    """Freeze the model and learn a change of low rank to some of its matrices, and the head (Hu et al., 2022).

    The dropout of the frozen layers stays on, as peft leaves it.

    Args:
        model: in place.
        r: rank of the change, ``B @ A``.
        alpha: it is scaled by ``alpha / r``.
        dropout: of what the change reads.
        target_modules: ends of module names, a regular expression for whole names, or ``all-linear``; None: those
            that peft names for the architecture (mostly queries and values), all linear layers where it names none.
        use_rslora: scale by ``alpha / sqrt(r)`` (Kalajdzievski, 2023).
        use_dora: learn the length of each row of the matrices beside (Liu et al., 2024).

    Raises:
        UserError: no module has such a name, its weights are another's too, or a number is out of its range.
    """
    trained = head(model)
    owned = {id(parameter) for parameter in trained}
    names = [
        name
        for name, module in model.named_modules()
        if any(id(parameter) in owned for parameter in module.parameters(recurse=False))
    ]
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    config: Any = model.config
    if isinstance(config, EncoderDecoderConfig):
        config = config.encoder
    usual: Any = USUAL_TARGETS.get(config.model_type, ALL)
    try:
        settings = LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=target_modules or usual,
            exclude_modules=names or None,  # they are trained whole
            use_rslora=use_rslora,
            use_dora=use_dora,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        )
        inject_adapter_in_model(settings, model)
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
        }
        raise UserError(
            f"tuning=lora: {str(error).splitlines()[0]}\n"
            f"Linear layers of this model: {listed(sorted(linear), limit=20)}. All of them: tuning.target_modules={ALL}"
        ) from error
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and uses[id(module.get_base_layer().weight)] > 1:
            raise UserError(
                f"tuning.target_modules: {name} shares its weights with another layer (input and output embeddings are one matrix):\n"
                "a change to one of them could not be merged. Leave it out."
            )
    for parameter in trained:
        parameter.requires_grad_(True)
    return Tuning(trained_only=True)


def merge(model: nn.Module) -> None:
    """Add each change to its matrix and take the adapters out: what stays is a plain model."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


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
