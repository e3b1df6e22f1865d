"""LoRA with the peft library, put into the layers in place: the model stays transformers' own class."""

from collections import Counter
from typing import Any, Literal

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULT_TARGETS
from torch import nn
from transformers import EncoderDecoderConfig
from transformers.pytorch_utils import Conv1D

from lightune.common.bounds import Count, Share
from lightune.common.errors import UserError, listed
from lightune.models.model_parts import head_parameters, is_decoder_only
from lightune.models.precision import halve_frozen
from lightune.models.quantization import quantize_frozen
from lightune.tuning.base import Tuning

ALL_LINEAR = "all-linear"


def lora(
    model: nn.Module,
    *,
    r: Count = 8,
    alpha: int = 16,
    dropout: Share = 0.05,
    target_modules: list[str] | str | None = None,
    use_rslora: bool = False,
    use_dora: bool = False,
    quantize: Literal["nf4"] | None = None,
) -> Tuning:
    """Freeze the model, and train its head and a low-rank change to some of its matrices (Hu et al., 2022).

    The dropout of the frozen layers stays on, as peft leaves it.

    Args:
        model: changed in place.
        r: rank of the change, ``B @ A``.
        alpha: the change is scaled by ``alpha / r``.
        dropout: of the change's input.
        target_modules: ends of module names, a regular expression for complete names, or ``all-linear``; None: peft's
            default for the architecture (mostly queries and values), or all linear layers where it has none.
        use_rslora: scale by ``alpha / sqrt(r)`` (Kalajdzievski, 2023).
        use_dora: also learn the length of each row of the matrices (Liu et al., 2024).
        quantize: ``nf4``: hold frozen linear layers in 4 bits while the model computes (Dettmers et al., 2023).

    Raises:
        UserError: no module has such a name, a matrix belongs to two modules, or a number is out of range.
    """
    head = set(head_parameters(model))
    in_head = [name for name, module in model.named_modules() if head & {*module.parameters(recurse=False)}]
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    config: Any = model.config
    if isinstance(config, EncoderDecoderConfig):
        config = config.encoder
    targets: Any = DEFAULT_TARGETS.get(config.model_type, ALL_LINEAR)
    try:
        settings = LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=target_modules or targets,
            # all of their weights are trained
            exclude_modules=in_head or None,
            use_rslora=use_rslora,
            use_dora=use_dora,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        )
        inject_adapter_in_model(settings, model)
    except ValueError as error:
        names = (name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D))
        linear = sorted({name.rpartition(".")[2] for name in names})
        raise UserError(
            f"tuning=lora: {str(error).splitlines()[0]}\n"
            f"Linear layers of this model: {listed(linear, limit=20)}. All of them: tuning.target_modules={ALL_LINEAR}"
        ) from error
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and uses[id(module.get_base_layer().weight)] > 1:
            raise UserError(
                f"tuning.target_modules: {name} shares its weights with another layer (input and output embeddings are one matrix):\n"
                "a change to one of them could not be merged. Leave it out."
            )
        if isinstance(module, LoraLayer) and is_decoder_only(config) and not use_dora:
            # autocast converts what needs it; copies in float32 would be kept for the backward pass
            module.cast_input_dtype_enabled = False
    for parameter in head:
        parameter.requires_grad_(True)
    return Tuning(trained_only=True, compress=quantize_frozen if quantize else halve_frozen)


def merge(model: nn.Module) -> None:
    """Add each change to its matrix and remove the adapters: the model is an ordinary one again."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
