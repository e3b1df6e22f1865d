"""Learn from few labels: texts of one label move together, and the head is fitted to where they lie."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lightune.common.errors import UserError


class Contrastive:
    """The loss over the pairs of a batch, and the head that is fitted to the states.

    Args:
        head: the output layer, whose input is compared: one state for each row, (batch, size).
    """

    def __init__(self, head: nn.Linear) -> None:
        self.head = head
        self._states = torch.empty(0)

    def begin(self, *, world_size: int) -> None:
        """Keep the states of each batch from now on; raise a UserError for several devices, whose rows are never paired."""
        if world_size > 1:
            raise UserError("tuning=contrastive pairs the rows of one device: trainer.devices=1")
        self.head.register_forward_pre_hook(self._keep)

    def _keep(self, head: Any, inputs: tuple[Tensor, ...]) -> None:
        # a pooling head is given the states of all tokens
        self._states = (head.pool(*inputs) if hasattr(head, "pool") else inputs[0]).float()

    def loss(self, labels: Tensor) -> Tensor:
        """Return how far the cosines of the last batch's pairs are from their likeness, squared; 0 without a pair.

        Pairs that have a label in common weigh as much as all others together, as if they were drawn equally often. The
        likeness of a pair is the share of its labels that both rows have (Jaccard), which is 1 or 0 where each has one.

        Args:
            labels: (batch,) of class indices, or (batch, num_labels) of 0 and 1.
        """
        states = normalize(self._states, dim=-1)
        own = nn.functional.one_hot(labels).to(states.dtype) if labels.dim() == 1 else labels
        common = own @ own.T
        counts = own.sum(dim=1)
        likeness = common / (counts[:, None] + counts - common).clamp(min=1)
        error = (states @ states.T - likeness) ** 2
        others = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
        alike, apart = others & (common > 0), others & (common == 0)
        means = [(error * pairs).sum() / pairs.sum().clamp(min=1) for pairs in (alike, apart)]
        return (means[0] + means[1]) / 2

    @torch.inference_mode(mode=False)
    def fit_head(self, task: Any) -> None:
        """Fit the head to the states of all training rows by L-BFGS: logistic regression, where the criterion is the default.

        The weights are penalized as scikit-learn's ``LogisticRegression`` does with states of length 1. ``task`` is a text
        classification in eval mode, in a fit.
        """
        trainer, states, labels = task.trainer, [], []
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for batch in map(trainer.strategy.batch_to_device, trainer.datamodule.every_row("train")[1]):
                task(batch)
                states.append(self._states)
                labels.append(batch["labels"])
        x, y = torch.cat(states), torch.cat(labels)
        penalty = x.norm(dim=-1).mean() ** 2 / (2 * len(x))
        parameters = [nn.init.zeros_(parameter.requires_grad_(True)) for parameter in self.head.parameters()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=500, line_search_fn="strong_wolfe")

        @torch.enable_grad()
        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = nn.functional.linear(x, self.head.weight, self.head.bias)
            loss: Tensor = task.criterion(logits, y)[0] + penalty * self.head.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        optimizer.zero_grad()
        self.head.requires_grad_(False)
