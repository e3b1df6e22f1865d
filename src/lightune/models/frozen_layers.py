"""The frozen lowest layers of a model, whose output for a text never changes and can be kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from lightune.data.batches.frozen_states import STATES_KEY, restore_padding
from lightune.models.model_parts import base_model, embedding_modules, layer_stacks, transformer_layers
from lightune.models.weights import digest

# of a configuration, what no hidden state depends on
NOT_COMPUTED = {"id2label", "label2id", "problem_type", "architectures", "_name_or_path", "transformers_version"}


class FrozenLayers:
    """The embeddings and the lowest ``layers`` of a model, all frozen and in eval mode, in the order in which they run."""

    def __init__(self, model: nn.Module, embeddings: list[nn.Module], layers: list[nn.Module]) -> None:
        self.layers = layers
        self._model = model
        self._embeddings = embeddings
        self._modules = [*embeddings, *layers]
        # of a layer that returns a tuple
        self._output_length: int | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Find the frozen layers of a model; None where the lowest is not frozen, or the layers are no plain stack."""
        layers = transformer_layers(model)
        is_plain = layers in [[*stack] for stack in layer_stacks(base_model(model)).values()]
        embeddings, frozen = embedding_modules(model), list(takewhile(_is_frozen, layers))
        return cls(model, embeddings, frozen) if is_plain and frozen and all(map(_is_frozen, embeddings)) else None

    def digest(self) -> str:
        """Return what the states depend on, as a key: the fixed weights below the upper layers, and the settings."""
        base = base_model(self._model)
        upper = [layer for layer in transformer_layers(self._model) if layer not in self.layers]
        left_out = {parameter for layer in upper for parameter in layer.parameters()}
        fixed = [(n, p) for n, p in base.named_parameters() if not p.requires_grad and p not in left_out]
        config = {name: value for name, value in base.config.to_dict().items() if name not in NOT_COMPUTED}
        return digest(fixed) + json.dumps(config, sort_keys=True, default=str)

    def states(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Run the model up to its highest frozen layer; return the states of real tokens, (tokens, hidden size)."""
        try:
            with self.layers[-1].register_forward_hook(_stop):
                model(**inputs)
        except _Stopped as stopped:
            (output,) = stopped.args
            is_tuple = isinstance(output, tuple)
            self._output_length = len(output) if is_tuple else None
            states: Tensor = output[0] if is_tuple else output
            mask = inputs["attention_mask"].bool()
            return states[mask] if states.shape[:2] == mask.shape else states[0]  # a packed row
        raise AssertionError("a forward pass that does not run its layers")

    def can_be_skipped(self, model: nn.Module, inputs: dict[str, Tensor]) -> bool:
        """Say whether a batch gives the same outputs without the frozen layers; it is computed both ways."""
        mask = inputs["attention_mask"].bool()
        # an architecture that computes between its layers, or lays out states differently, may raise anything
        with suppress(Exception):
            with torch.enable_grad():
                states = self.states(model, inputs)
            # a weight that moves feeds them from outside, as MPNet's relative positions can
            if states.requires_grad:
                return False
            states = restore_padding(states, mask)
            expected = _of_real_tokens(model(**inputs), mask)
            with self.skipped(model):
                outputs = _of_real_tokens(model(**inputs, **{STATES_KEY: states}), mask)
            pairs = zip(expected, outputs, strict=True)
            return all(torch.allclose(*pair, rtol=1e-3, atol=1e-5) for pair in pairs)
        return False

    @contextmanager
    def skipped(self, model: nn.Module) -> Iterator[None]:
        """Let states among the model's inputs, under the name ``STATES_KEY``, replace the frozen layers.

        Without states the complete model runs, and so it does once a part of these layers has been thawed.
        """
        states: Tensor | None = None
        mask: Tensor | None = None

        def take_states(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            nonlocal states, mask
            states, mask = inputs.pop(STATES_KEY, None), inputs["attention_mask"].bool()
            if any(next(module.parameters()).requires_grad for module in self._modules):
                states = None
            return args, inputs

        def embed(forward: Any, *args: Any, **inputs: Any) -> Any:
            if states is None or mask is None:
                return forward(*args, **inputs)
            tokens = next(value for value in (*args, *inputs.values()) if isinstance(value, Tensor))
            return states if tokens.shape[:2] == mask.shape else states[mask].unsqueeze(0)

        def pass_on(forward: Any, hidden_states: Tensor, *args: Any, **inputs: Any) -> Any:
            if states is None:
                return forward(hidden_states, *args, **inputs)
            if self._output_length is None:
                return hidden_states
            return (hidden_states,) + (None,) * (self._output_length - 1)

        for module in self._modules:
            module.forward = partial(embed if module in self._embeddings else pass_on, module.forward)
        try:
            with model.register_forward_pre_hook(take_states, with_kwargs=True):
                yield
        finally:
            for module in self._modules:
                del module.forward


class _Stopped(Exception):  # noqa: N818 - no error
    """Raised with the output of the highest frozen layer, to leave a forward pass after it."""


def _stop(_: nn.Module, args: Any, output: Any) -> None:
    raise _Stopped(output)


def _of_real_tokens(output: ModelOutput, mask: Tensor) -> list[Tensor]:
    tensors = [value for value in output.to_tuple() if isinstance(value, Tensor)]
    return [tensor[mask] if tensor.shape[:2] == mask.shape else tensor for tensor in tensors]


def _is_frozen(module: nn.Module) -> bool:
    return not module.training and not any(parameter.requires_grad for parameter in module.parameters())
