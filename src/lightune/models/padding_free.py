"""Compute nothing on padding, where the GPU has a kernel for rows of different lengths.

An encoder reads the real tokens of a batch as one row: (batch, length) becomes (1, tokens). torch's ``varlen_attn``
keeps attention within the rows, and the last hidden states return to (batch, length, size), with zeros at padding.
"""

import inspect
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lightune.models.model_parts import ATTENTION_DROPOUT_NAMES
from lightune.models.transformers_internals import attention_implementation

# a name with "flash" in it would make transformers look for the package flash-attn
ATTENTION_NAME = "varlen"
# the model_type of supported models, by their first position: 0, or the one after the padding token's id
POSITIONS_FROM_ZERO = {"albert", "bert", "distilbert", "electra", "modernbert"}
POSITIONS_AFTER_PAD = {"camembert", "roberta", "xlm-roberta"}
# a call with other arguments stays padded
SUPPORTED_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "return_dict"}


class Packed(NamedTuple):
    """The places of a packed row's tokens; every attention layer gets it as an argument of the model.

    ``indices`` (tokens,) point into the flattened ``shape``, (batch, length); ``cu_seq_lens`` (batch + 1,) int32 are the
    place of each row's first token, then the number of tokens.
    """

    indices: Tensor
    cu_seq_lens: Tensor
    shape: torch.Size


def remove_padding(model: nn.Module) -> None:
    """Make a model compute on real tokens only, in every forward pass for which there is a kernel.

    It leaves others unchanged: other architectures, decoders, models that drop attention weights (the kernel cannot),
    and models with heads of a size that the kernel does not support.
    """
    base = getattr(model, "base_model", None)
    if not isinstance(base, PreTrainedModel):
        return
    config: Any = base.config
    if (
        config.model_type not in POSITIONS_FROM_ZERO | POSITIONS_AFTER_PAD
        or attention_implementation(base) != "sdpa"
        or getattr(config, "is_decoder", False)
        or any(getattr(config, name, 0) for name in ATTENTION_DROPOUT_NAMES)
        or (config.hidden_size // config.num_attention_heads) not in range(8, 257, 8)
    ):
        return
    AttentionInterface.register(ATTENTION_NAME, attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
    base.set_attn_implementation(ATTENTION_NAME)
    base.register_forward_pre_hook(_pack, with_kwargs=True)
    before_pooler: nn.Module = getattr(base, "encoder", getattr(base, "transformer", base))
    before_pooler.register_forward_hook(_unpack, with_kwargs=True)


def skips_padding(model: Any) -> bool:
    """Say whether the last forward pass computed nothing on padding."""
    return getattr(getattr(model, "base_model", None), "skips_padding", False)


def has_kernel(base: PreTrainedModel, device: torch.device) -> bool:
    """Say whether ``varlen_attn`` supports this computation: half precision, on an NVIDIA GPU since Ampere."""
    if device.type != "cuda" or not torch.backends.cuda.is_flash_attention_available():
        return False
    autocast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if autocast else base.dtype
    return dtype in {torch.bfloat16, torch.float16} and torch.cuda.get_device_capability(device) >= (8, 0)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend within the rows of a packed batch; without ``packed`` a padded one goes to transformers' ``sdpa``.

    Shapes: query, key and value (1, heads, tokens, head size); output (1, tokens, heads, head size). A token sees
    ``sliding_window - 1`` places to each side.
    """
    packed: Packed | None = kwargs.pop("packed", None)
    if packed is None:
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        return sdpa(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    query, key, value = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    window = kwargs.get("sliding_window")
    sides = (-1, -1) if window is None else (window - 1, window - 1)
    starts = packed.cu_seq_lens
    # an upper bound: to compute the longest row would make the CPU wait for the GPU
    longest = packed.shape[1]
    output = varlen_attn(
        query, key, value, starts, starts, longest, longest, scale=kwargs.get("scaling"), window_size=sides
    )
    assert isinstance(output, Tensor)
    return output.unsqueeze(0), None


def _pack(base: Any, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]] | None:
    """Turn the inputs of an encoder, (batch, length), into one row of real tokens."""
    named = dict(zip(inspect.signature(base.forward).parameters, args, strict=False)) | kwargs
    inputs = {name: value for name, value in named.items() if value is not None and value is not False}
    if not {"input_ids", "attention_mask"} <= inputs.keys() <= SUPPORTED_INPUTS:
        return None
    ids, mask = inputs["input_ids"], inputs.pop("attention_mask")
    # classification heads read the first place: padding must not be there
    base.skips_padding = mask.ndim == 2 and has_kernel(base, mask.device) and bool(mask[:, 0].all())
    if not base.skips_padding:
        return None
    if base.config.model_type in POSITIONS_AFTER_PAD:
        counted = ids != base.config.pad_token_id
        position_ids = counted.cumsum(dim=1) * counted + base.config.pad_token_id
    else:
        position_ids = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    indices = mask.flatten().nonzero().squeeze(1)
    cu_seq_lens = F.pad(mask.sum(dim=1).cumsum(dim=0), (1, 0)).int()
    packed_inputs = {
        name: value.flatten()[indices].unsqueeze(0) if isinstance(value, Tensor) else value
        for name, value in {**inputs, "position_ids": position_ids}.items()
    }
    # a model with several kinds of layers (ModernBERT) makes no masks if it gets one for each kind
    layer_types = getattr(base.config, "layer_types", None)
    attention_mask = None if layer_types is None else dict.fromkeys(layer_types)
    packed = Packed(indices, cu_seq_lens, mask.shape)
    return (), {**packed_inputs, "attention_mask": attention_mask, "packed": packed}


def _unpack(layers: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Return the last hidden states to (batch, length, size), zeros at padding."""
    packed: Packed | None = kwargs.get("packed")
    if packed is not None:
        states = output.last_hidden_state.squeeze(0)
        padded = states.new_zeros(packed.shape.numel(), states.shape[-1])
        output.last_hidden_state = padded.index_copy(0, packed.indices, states).unflatten(0, packed.shape)
    return output
