"""Which of the pretrained weights move. Each option of ``conf/tuning`` is one function of this module."""

from typing import Any

from torch import nn

from finetune.errors import UserError


def full(model: nn.Module) -> None:
    """Move every weight that the architecture lets move: models are loaded so, and some keep positions fixed."""


def frozen(model: nn.Module, *, num_layers: int) -> None:
    """Keep the embeddings and the lowest ``num_layers`` transformer layers as they were pretrained.

    What is frozen is put in eval mode: its dropout would only add noise to features that cannot adapt to it.

    Raises:
        UserError: the model has fewer layers than that.
    """
    base: Any = getattr(model, "base_model", model)
    layers = transformer_layers(base)
    if not 0 <= num_layers <= len(layers):
        raise UserError(
            f"tuning.num_layers={num_layers}: this model has {len(layers)} transformer layers.\n"
            f"Expected a number from 0 (embeddings only) to {len(layers)} (all but the head)."
        )
    for module in [*embeddings(base), *layers[:num_layers]]:
        module.requires_grad_(False)
        module.eval()


def embeddings(base: Any) -> list[nn.Module]:
    """Return what turns token indices into the first layer's input, in the order in which it runs."""
    return [
        module for name, module in base.named_children() if name in {"embeddings", "embeddings_project"}
    ] or [base.get_input_embeddings()]


def transformer_layers(base: nn.Module) -> list[nn.Module]:
    """Find the stack of equal blocks: the longest ModuleList in any of the supported architectures."""
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    longest = max(stacks, key=lambda stack: len(stack), default=nn.ModuleList())
    return list(longest)
