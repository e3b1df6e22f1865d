"""Nothing is computed on padding where the GPU has a kernel for rows of different lengths.

An encoder then reads the real tokens of a batch as one row, (batch, length) becomes (1, tokens); attention is kept
inside the rows by torch's ``varlen_attn``, and the last hidden states are put back to (batch, length, size). Heads,
pooling, losses and tasks see what they always see, but zeros where there is padding.
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

from lightune.models.parts import ATTENTION_DROPOUT_NAMES

NAME = "varlen"  # of the attention; one with "flash" in it makes transformers look for the package flash-attn
POSITIONS_FROM_ZERO = {"albert", "bert", "distilbert", "electra", "modernbert"}
POSITIONS_AFTER_PAD = {"camembert", "roberta", "xlm-roberta"}
"""``model_type`` by where its positions start: at 0, or after the padding token's id. Others keep their padding."""
READ = {"input_ids", "attention_mask", "token_type_ids", "return_dict"}
"""The arguments that packing knows; a call that says more stays padded."""


class Packed(NamedTuple):
    """Where the tokens of a packed row belong; it goes through the model to every attention layer."""

    indices: Tensor
    """(tokens,) places in the flattened (batch, length)."""

    cu_seq_lens: Tensor
    """(batch + 1,) int32, the place of each row's first token, and at last the number of tokens."""

    shape: torch.Size
    """(batch, length)."""


def remove_padding(model: nn.Module) -> None:
    """Make a model compute on real tokens only, in every forward pass for which there is a kernel.

    Models that it does not fit stay as they are: whose architecture is not among those above, that look back only,
    whose attention has dropout of its own (the kernel has none), or whose heads are of a size the kernel does not take.
    """
    base = getattr(model, "base_model", None)
    if not isinstance(base, PreTrainedModel):
        return
    config: Any = base.config
    if (
        config.model_type not in POSITIONS_FROM_ZERO | POSITIONS_AFTER_PAD
        or config._attn_implementation != "sdpa"
        or getattr(config, "is_decoder", False)
        or any(getattr(config, name, 0) for name in ATTENTION_DROPOUT_NAMES)
        or (config.hidden_size // config.num_attention_heads) not in range(8, 257, 8)
    ):
        return
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    base.set_attn_implementation(NAME)
    base.register_forward_pre_hook(_pack, with_kwargs=True)
    layers: nn.Module = getattr(base, "encoder", getattr(base, "transformer", base))  # before any pooler
    layers.register_forward_hook(_unpack, with_kwargs=True)


def has_kernel(base: PreTrainedModel, device: torch.device) -> bool:
    """Say whether ``varlen_attn`` takes what the layers compute here: half precision, on an NVIDIA GPU since Ampere."""
    if device.type != "cuda" or not torch.backends.cuda.is_flash_attention_available():
        return False
    autocast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if autocast else base.dtype
    return dtype in {torch.bfloat16, torch.float16} and torch.cuda.get_device_capability(device) >= (8, 0)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Packed | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within the rows of a packed batch; a padded one goes to transformers' ``sdpa``.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, head size).
        key: the same.
        value: the same.
        attention_mask: None for a packed batch.
        packed: where the rows begin; None: the batch is padded, (batch, heads, length, head size).
        kwargs: ``scaling`` of the scores, ``sliding_window`` (how far a token sees, and one more), and the rest of what
            transformers passes.

    Returns:
        (1, tokens, heads, head size), and None in place of the weights.
    """
    if packed is None:
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        return sdpa(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    query, key, value = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    window = kwargs.get("sliding_window")
    output = varlen_attn(
        query,
        key,
        value,
        packed.cu_seq_lens,
        packed.cu_seq_lens,
        packed.shape[1],  # an upper bound will do: the GPU need not be waited for
        packed.shape[1],
        scale=kwargs.get("scaling"),
        window_size=(-1, -1) if window is None else (window - 1, window - 1),
    )
    assert isinstance(output, Tensor)
    return output.unsqueeze(0), None


def _pack(
    base: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[()], dict[str, Any]] | None:
    """Turn the inputs of an encoder, (batch, length), into one row of real tokens."""
    named = dict(zip(inspect.signature(base.forward).parameters, args, strict=False)) | kwargs
    given = {name: value for name, value in named.items() if value is not None and value is not False}
    if not {"input_ids", "attention_mask"} <= given.keys() <= READ:
        return None
    ids, mask = given["input_ids"], given.pop("attention_mask")
    if mask.ndim != 2 or not has_kernel(base, mask.device) or not mask[:, 0].all():
        return None  # the last: padding on the left, where classification heads read
    if base.config.model_type in POSITIONS_AFTER_PAD:
        counted = ids != base.config.pad_token_id
        position_ids = counted.cumsum(dim=1) * counted + base.config.pad_token_id
    else:
        position_ids = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    packed = Packed(
        indices=mask.flatten().nonzero().squeeze(1),
        cu_seq_lens=F.pad(mask.sum(dim=1).cumsum(dim=0), (1, 0)).int(),
        shape=mask.shape,
    )
    inputs = {
        name: value.flatten()[packed.indices].unsqueeze(0) if isinstance(value, Tensor) else value
        for name, value in {**given, "position_ids": position_ids}.items()
    }
    # a model with several kinds of layers (ModernBERT) makes no masks where it is given one for each kind
    kinds = getattr(base.config, "layer_types", None)
    inputs["attention_mask"] = None if kinds is None else dict.fromkeys(kinds)
    return (), {**inputs, "packed": packed}


def _unpack(layers: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Put the last hidden states back to (batch, length, size), zeros at padding."""
    packed: Packed | None = kwargs.get("packed")
    if packed is not None:
        states = output.last_hidden_state.squeeze(0)
        padded = states.new_zeros(packed.shape.numel(), states.shape[-1])
        output.last_hidden_state = padded.index_copy(0, packed.indices, states).unflatten(0, packed.shape)
    return output
