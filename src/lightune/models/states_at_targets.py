"""What a causal language model's output layer reads, at the places of targets only.

A summary is an eighth of its sequence: the logits of the other tokens, over the whole vocabulary, would cost more memory
than the rest of the model, and nobody reads them.
"""

from typing import Any

from torch import Tensor

# settings of models that change their output layer's logits once more, such as Gemma 2, Cohere and Granite
CHANGED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def states_at_targets(model: Any, inputs: dict[str, Tensor], where: Tensor) -> Tensor:
    """Call a model; return the states (targets, size) of the tokens whose next token is a target, for ``logits_of``.

    A model that changes its output layer's logits returns logits. ``inputs`` are (batch, length); ``where``,
    (batch, length - 1), is True before a target.
    """
    states: list[Tensor] = []
    changes = _changes_logits(model)

    def keep(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        states.append(args[0][:, :-1][where])
        # else the model computes the logits of one token, for nobody
        return (states[0][None] if changes else args[0][:1, :1],)

    with model.get_output_embeddings().register_forward_pre_hook(keep):
        logits: Tensor = model(**inputs, use_cache=False).logits
    return logits[0] if changes else states[0]


def logits_of(model: Any, states: Tensor) -> Tensor:
    """Return the logits (targets, vocabulary) of what ``states_at_targets`` has returned."""
    logits: Tensor = states if _changes_logits(model) else model.get_output_embeddings()(states)
    return logits


def _changes_logits(model: Any) -> bool:
    config = model.config.get_text_config()
    return any(getattr(config, name, None) not in (None, 1) for name in CHANGED_LOGITS)
