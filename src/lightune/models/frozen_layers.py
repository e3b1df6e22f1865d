"""The lowest layers of a model where none of their weights moves: what they make of a text stays the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import takewhile
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from lightune.data.batches.frozen_states import STATES_KEY, restore_padding
from lightune.models.layers import embeddings, transformer_layers


class FrozenLayers:
    """The embeddings and the lowest transformer layers of a model, all frozen.

    Args:
        embeddings: in the order in which they run.
        layers: from the lowest.
    """

    def __init__(self, *, embeddings: list[nn.Module], layers: list[nn.Module]) -> None:
        self.embeddings = embeddings
        self.layers = layers
        self._tuple_of: int | None = None  # outputs of a layer, where it returns a tuple

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Find the trunk of a model; None where not even the lowest layer is frozen."""
        base = getattr(model, "base_model", model)
        first = embeddings(base)
        layers = list(takewhile(_is_frozen, transformer_layers(base)))
        return cls(embeddings=first, layers=layers) if layers and all(map(_is_frozen, first)) else None

    def digest(self) -> str:
        """Return a hash of the weights."""
        found = sha256()
        for module in (*self.embeddings, *self.layers):
            for name, tensor in module.state_dict().items():
                found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()

    def states(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Run the model up to the end of its trunk; return (tokens, hidden size), padding left out."""
        hook = self.layers[-1].register_forward_hook(_stop)
        try:
            model(**inputs)
        except _EndOfTrunk as end:
            self._tuple_of = len(end.output) if isinstance(end.output, tuple) else None
            mask = inputs["attention_mask"].bool()
            is_packed = end.states.shape[:2] != mask.shape
            return end.states[0] if is_packed else end.states[mask]
        finally:
            hook.remove()
        raise AssertionError("a forward that does not run its layers")

    def can_be_left_out(self, model: nn.Module, inputs: dict[str, Tensor]) -> bool:
        """Compute a batch with and without the trunk: whether the outputs are the same."""
        mask = inputs["attention_mask"].bool()
        states = restore_padding(self.states(model, inputs), mask)
        whole = _of_real_tokens(model(**inputs), mask)
        try:
            with self.replaced(model):
                without = _of_real_tokens(model(**inputs, **{STATES_KEY: states}), mask)
        except (RuntimeError, TypeError, ValueError):  # an architecture that does more between its layers
            return False
        return all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-5)
            for one, other in zip(whole, without, strict=True)
        )

    @contextmanager
    def replaced(self, model: nn.Module) -> Iterator[None]:
        """Let ``trunk_states`` among the model's inputs stand in for the trunk, which is then not run.

        Once a part of the trunk has been thawed they are left aside, and the whole model runs.
        """
        states: Tensor | None = None
        mask: Tensor | None = None

        def take(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            nonlocal states, mask
            states, mask = inputs.pop(STATES_KEY, None), inputs["attention_mask"].bool()
            if any(next(module.parameters()).requires_grad for module in (*self.embeddings, *self.layers)):
                states = None
            return args, inputs

        def embed(forward: Any, *args: Any, **inputs: Any) -> Any:
            if states is None or mask is None:
                return forward(*args, **inputs)
            read = next(one for one in (*args, *inputs.values()) if isinstance(one, Tensor))
            is_packed = read.shape[:2] != mask.shape
            return states[mask].unsqueeze(0) if is_packed else states

        def layer(forward: Any, hidden_states: Tensor, *args: Any, **inputs: Any) -> Any:
            if states is None:
                return forward(hidden_states, *args, **inputs)
            if self._tuple_of is None:
                return hidden_states
            return (hidden_states,) + (None,) * (self._tuple_of - 1)

        hook = model.register_forward_pre_hook(take, with_kwargs=True)
        for module in self.embeddings:
            module.forward = partial(embed, module.forward)
        for module in self.layers:
            module.forward = partial(layer, module.forward)
        try:
            yield
        finally:
            hook.remove()
            for module in (*self.embeddings, *self.layers):
                del module.forward


class _EndOfTrunk(Exception):  # noqa: N818
    """Raised to leave a forward early; no error."""

    def __init__(self, output: Any) -> None:
        self.output = output
        self.states: Tensor = output[0] if isinstance(output, tuple) else output


def _stop(_: nn.Module, args: Any, output: Any) -> None:
    raise _EndOfTrunk(output)


def _of_real_tokens(output: ModelOutput, mask: Tensor) -> list[Tensor]:
    tensors = [one for one in output.to_tuple() if isinstance(one, Tensor)]
    return [one[mask] if one.shape[:2] == mask.shape else one for one in tensors]


def _is_frozen(module: nn.Module) -> bool:
    return not module.training and not any(parameter.requires_grad for parameter in module.parameters())
