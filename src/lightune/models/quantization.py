"""Frozen linear layers in 4 bits: NF4, and the scales of its blocks in 8 bits (Dettmers et al., 2023, QLoRA)."""

from typing import Any

import torch
from torch import nn

from lightune.common.errors import UserError
from lightune.common.packages import check_installed
from lightune.models.model_parts import base_model, layer_stacks
from lightune.models.precision import halve_frozen


def quantize_frozen(model: nn.Module, precision: str | int) -> None:
    """Hold the frozen linear layers of a model's body in 4 bits, in place, and the rest as ``halve_frozen`` does.

    They compute in bfloat16 in ``bf16-mixed``, else in the precision of their input. ``precision`` is resolved.

    Raises:
        UserError: bitsandbytes is not installed, or there are no such layers.
    """
    check_installed("bitsandbytes", extra="qlora", needed_by="tuning=qlora")
    halve_frozen(model, precision)
    compute_dtype = torch.bfloat16 if precision == "bf16-mixed" else None
    layers = 0
    for stack in layer_stacks(base_model(model)).values():
        for name, module in [*stack.named_modules()]:
            if isinstance(module, nn.Linear) and not module.weight.requires_grad:
                layers += 1
                if module.weight.is_floating_point():
                    stack.set_submodule(name, _quantized(module, compute_dtype))
    if not layers:
        raise UserError(f"tuning=qlora: {type(model).__name__} has no linear layers to quantize: tuning=lora")


def _quantized(linear: nn.Linear, compute_dtype: torch.dtype | None) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    sizes = linear.in_features, linear.out_features
    layer: Any = Linear4bit(*sizes, compute_dtype=compute_dtype, quant_type="nf4", device="meta")
    # a move quantizes it
    layer.weight = Params4bit(linear.weight.data, quant_type="nf4", module=layer).to(linear.weight.device)
    layer.bias = linear.bias
    # it would turn to another layout in eval mode on a CPU, for good, and no gradient goes through that
    layer.support_avx512bf16_for_cpu = False
    return layer.train(linear.training)  # type: ignore[no-any-return]
