"""Integrated gradients on a model's word embeddings, with as many steps as they need."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

STEPS = (50, 100, 200, 400)  # until the attributions add up
TOLERANCE = 0.05  # of what all attributions together should be
TOKENS_AT_A_TIME = 2048  # of all steps that are computed together: memory does not grow with their number


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What each token added to an output, on the way from a baseline."""

    scores: Tensor = field(compare=False, repr=False)
    """(tokens,) on the CPU, of one window after the other."""

    output: float
    """For the text itself: the log-odds of a label, or a regression's value."""

    baseline: float
    """The same for its baseline."""

    delta: float
    """The sum of the scores less what it should be, ``output - baseline``."""

    steps: int

    @property
    def converged(self) -> bool:
        """Say whether the scores add up to what they should, to 5 %."""
        return abs(self.delta) <= TOLERANCE * abs(self.output - self.baseline)


def integrated_gradients(
    model: nn.Module, *, output: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor], baseline_ids: Tensor
) -> Attribution:
    """Attribute an output to the tokens of a text: Sundararajan et al. (2017), Axiomatic Attribution for Deep Networks.

    This is what captum's LayerIntegratedGradients computes for the layer of word embeddings. To check the sum, though,
    that one would have the model read the baseline's ids, which would move RoBERTa's positions and the token that
    GPT-2 classifies by: here both ends are read with the ids of the text, and only the embeddings differ.

    The steps are doubled from 50 to at most 400 until the sum of the scores is right to 5 %.

    Args:
        model: with ``base_model``; in float32 and eval mode, its weights without gradients, which would take memory.
        output: of the model's inputs, (rows * windows, length) each, makes the numbers to explain, (rows,).
        inputs: of one text, (windows, length) each, ``input_ids`` among them.
        baseline_ids: (windows, length); a token that stays itself is given nothing.
    """
    base: Any = model.base_model
    layer: nn.Module = base.get_input_embeddings()

    def of_embeddings(embedded: Tensor) -> Tensor:
        rows = {name: tensor.repeat(len(embedded), 1) for name, tensor in inputs.items()}
        embedded = embedded.reshape(*rows["input_ids"].shape, -1)

        def replace(module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            # GPT-2's embeds segments too
            return embedded if torch.equal(args[0], rows["input_ids"]) else output

        with layer.register_forward_hook(replace):
            return output(rows)

    tokens = baseline_ids.numel()
    with torch.enable_grad():
        ends = layer(torch.cat([inputs["input_ids"], baseline_ids])).detach().reshape(2, tokens, -1)
        text, baseline = ends[:1], ends[1:]
        method = IntegratedGradients(of_embeddings)
        for steps in STEPS:
            options = {"n_steps": steps, "internal_batch_size": max(1, TOKENS_AT_A_TIME // tokens)}
            scores, delta = method.attribute(text, baselines=baseline, **options, return_convergence_delta=True)
            with torch.no_grad():
                at_text, at_baseline = of_embeddings(ends).tolist()
            found = Attribution(
                scores=scores.sum(dim=-1)[0].detach().cpu(),
                output=at_text,
                baseline=at_baseline,
                delta=float(delta),
                steps=steps,
            )
            if found.converged:
                break
    return found
