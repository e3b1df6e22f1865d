"""Compute nothing on padding, where the GPU has a kernel for rows of different lengths.

A model reads the real tokens of a batch as one row: (batch, length) becomes (1, tokens). torch's ``varlen_attn`` keeps
attention within the rows, and the last hidden states return to (batch, length, size), with zeros at padding.
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

from lightune.models.model_parts import DROPOUT_NAMES
from lightune.models.transformers_internals import attention_implementation

# a name with "flash" in it would make transformers look for the package flash-attn
ATTENTION_NAME = "varlen"
# the model_type of supported encoders, by their first position: 0, or the one after the padding token's id
POSITIONS_FROM_ZERO = {"albert", "bert", "distilbert", "electra", "modernbert"}
POSITIONS_AFTER_PAD = {"camembert", "roberta", "xlm-roberta"}
# positions from 0
DECODERS = {"gpt2", "llama", "mistral", "qwen2", "qwen3"}
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

    It leaves others unchanged: other architectures, encoders made to look back only, models that drop attention weights
    (the kernel cannot), and models with heads of a size that the kernel does not support. A call stays padded if its
    rows are padded on the left, or if a decoder fills a cache.
    """
    base = getattr(model, "base_model", None)
    if not isinstance(base, PreTrainedModel):
        return
    config: Any = base.config
    if (
        config.model_type not in POSITIONS_FROM_ZERO | POSITIONS_AFTER_PAD | DECODERS
        or attention_implementation(base) != "sdpa"
        or getattr(config, "is_decoder", False)
        or any(getattr(config, name, 0) for name in DROPOUT_NAMES["attention"])
        or (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        not in range(8, 257, 8)
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

    Shapes: query (1, heads, tokens, head size), key and value (1, key heads, tokens, head size); output (1, tokens,
    heads, head size). A token sees ``sliding_window - 1`` places to each side, a decoder's to the left only.
    """
    packed: Packed | None = kwargs.pop("packed", None)
    if packed is None:
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        return sdpa(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    # rotary positions make float32 of query and key where the embedding is float32
    query, key, value = (states.squeeze(0).transpose(0, 1).to(value.dtype) for states in (query, key, value))
    window = kwargs.get("sliding_window")
    side = -1 if window is None else window - 1
    starts = packed.cu_seq_lens
    # an upper bound: to compute the longest row would make the CPU wait for the GPU
    longest = packed.shape[1]
    output = varlen_attn(
        query, key, value, starts, starts, longest, longest,
        scale=kwargs.get("scaling"),
        window_size=(side, 0 if getattr(module, "is_causal", False) else side),
        enable_gqa=key.shape[1] < query.shape[1],
    )  # fmt: skip
    assert isinstance(output, Tensor)
    return output.unsqueeze(0), None


def _pack(base: Any, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]] | None:
    """Turn the inputs of a model, (batch, length), into one row of real tokens."""
    named = dict(zip(inspect.signature(base.forward).parameters, args, strict=False)) | kwargs
    is_decoder, use_cache = base.config.model_type in DECODERS, named.pop("use_cache", None)
    # a decoder that is not told fills a cache, which nothing reads in training
    if use_cache or (is_decoder and use_cache is None and not base.training):
        return None
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
    # a finished mask of four dimensions keeps transformers from making one of (tokens, tokens); nothing reads it
    packed_inputs["attention_mask"] = mask.new_empty(1, 1, 1, 0)
    if is_decoder:
        packed_inputs["use_cache"] = False
    return (), {**packed_inputs, "packed": Packed(indices, cu_seq_lens, mask.shape)}


def _unpack(layers: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Return the last hidden states to (batch, length, size), zeros at padding."""
    packed: Packed | None = kwargs.get("packed")
    if packed is not None:
        states = output.last_hidden_state.squeeze(0)
        padded = states.new_zeros(packed.shape.numel(), states.shape[-1])
        output.last_hidden_state = padded.index_copy(0, packed.indices, states).unflatten(0, packed.shape)
    return output
