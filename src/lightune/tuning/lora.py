"""LoRA by the peft library, put into the layers in place: the model stays the one that transformers made."""

from collections import Counter
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL_TARGETS
from torch import nn
from transformers import EncoderDecoderConfig
from transformers.pytorch_utils import Conv1D

from lightune.common.bounds import Count, Share
from lightune.common.errors import UserError, listed
from lightune.models.parts import head_parameters
from lightune.tuning.base import Tuning

ALL = "all-linear"


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
    trained = head_parameters(model)
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
