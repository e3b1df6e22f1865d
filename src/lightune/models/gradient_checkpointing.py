"""Gradient checkpointing: layers are computed again in the backward pass, in place of keeping all that they computed."""

import torch
from transformers import PreTrainedModel

from lightune.common.errors import UserError


def recompute_layers(model: PreTrainedModel, *, offload: bool) -> None:
    """Let each layer in training mode keep only its input, and compute the rest again for the gradients (Chen et al., 2016).

    ``offload`` keeps the inputs in the host's memory.

    Raises:
        UserError: transformers cannot do it for this architecture.
    """
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"model.gradient_checkpointing: transformers cannot compute the layers of {type(model).__name__} again.\n"
            "Leave it out, and save memory by a smaller data.batch_size with trainer.accumulate_grad_batches."
        )
    # without an accelerator they are in the host's memory anyway, and torch cannot pin it
    offload = offload and torch.accelerator.is_available()
    model.activation_checkpointing_enable({"use_reentrant": False}, offload=offload)
    # only a reentrant checkpoint needs gradients of the embeddings, and frozen layers would compute them in vain
    model.disable_input_require_grads()
