"""How fast the weights move: parameter groups, learning-rate schedules and the number of steps they span."""

import math
import re
from collections.abc import Callable

from lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.models.parts import EMBEDDINGS

LAYER = re.compile(r"(.*?)\.(\d+)\.")
"""The stack and the place of a layer that a name begins with."""

NOT_DECAYED = re.compile(r"bias$|norm|\bln_\w+\.weight$")


def parameter_groups(model: nn.Module, *, layerwise_lr_decay: float | None = None) -> list[dict[str, object]]:
    """Split the trainable parameters in two: weight decay for matrices, none for biases and norms.

    They are told apart by name, not by shape: FSDP flattens every shape.
    Source: Devlin et al. (2019) train BERT so.

    Args:
        model: some of its parameters trainable.
        layerwise_lr_decay: splits further by layer. ``lr_scale`` of a group is then what its learning rate is to be
            multiplied by: 1 for the head and the top layer, less by this factor for each layer below, least for the
            embeddings (Sun et al., 2019). Encoder and decoder are counted each by itself.

    Raises:
        UserError: the factor is not above 0 and up to 1.
    """
    if layerwise_lr_decay is not None and not 0 < layerwise_lr_decay <= 1:
        raise UserError(f"layerwise_lr_decay={layerwise_lr_decay}: expected a factor above 0 and up to 1.")
    below = layers_above(model) if layerwise_lr_decay is not None else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, False): [], (0, True): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = NOT_DECAYED.search(name.lower()) is not None
            groups.setdefault((below.get(id(parameter), 0), plain), []).append(parameter)
    return [
        {
            "params": parameters,
            **({"weight_decay": 0.0} if plain else {}),
            **({} if layerwise_lr_decay is None else {"lr_scale": layerwise_lr_decay**depth}),
        }
        for (depth, plain), parameters in groups.items()
    ]


def make_optimizer(
    factory: Callable[..., Optimizer], model: nn.Module, *, layerwise_lr_decay: float | None
) -> Optimizer:
    """Make an optimizer of all that is trainable now; what is frozen later has no gradient, and until then no state.

    Args:
        factory: makes an optimizer of parameter groups.
        model: whose parameters move.
        layerwise_lr_decay: see ``parameter_groups``.
    """
    optimizer = factory(parameter_groups(model, layerwise_lr_decay=layerwise_lr_decay))
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 1.0)
    # with True, as fused optimizers say, Lightning would refuse to clip their gradients in mixed precision
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def layers_above(model: nn.Module) -> dict[int, int]:
    """Count the layers that stand above each parameter of the body, by the parameter's ``id``; the top layer has 0."""
    base: nn.Module = getattr(model, "base_model", model)
    layers: dict[int, tuple[str, int]] = {}
    lengths: dict[str, int] = {}
    lowest = []
    for name, parameter in base.named_parameters():
        if found := LAYER.match(name):
            stack, index = found[1], int(found[2])
            layers[id(parameter)] = stack, index
            lengths[stack] = max(lengths.get(stack, 0), index + 1)
        elif EMBEDDINGS.search(name):
            lowest.append(id(parameter))
    above = {key: lengths[stack] - 1 - index for key, (stack, index) in layers.items()}
    return above | dict.fromkeys(lowest, max(lengths.values(), default=0))


def schedule(optimizer: Optimizer, *, num_training_steps: int, name: str, warmup_ratio: Share) -> LRScheduler:
    """Build one of transformers' schedules, with the warm-up as a share of all steps.

    Args:
        optimizer: whose learning rate is the schedule's peak.
        num_training_steps: optimizer steps in the whole run.
        name: as in ``transformers.SchedulerType``: ``linear``, ``cosine``, ``constant_with_warmup``, …
        warmup_ratio: share of the steps, 0 to 1, over which the rate rises from 0 to its peak.
    """
    built: LRScheduler = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=math.ceil(warmup_ratio * num_training_steps),
        num_training_steps=num_training_steps,
    )
    return built


def num_training_steps(trainer: Trainer, *, batches_per_epoch: Callable[..., int]) -> int:
    """Count the optimizer steps of a run from the Trainer's settings.

    ``trainer.estimated_stepping_batches`` would build the data loaders to find out, too early
    for a run that is resumed.

    Args:
        trainer: whose ``max_epochs``, ``max_steps``, ``accumulate_grad_batches`` and ``limit_train_batches`` count.
        batches_per_epoch: counts the batches that each of ``world_size`` devices sees in an epoch.
    """
    limit = trainer.limit_train_batches
    per_epoch = batches_per_epoch(world_size=trainer.world_size)
    batches = min(per_epoch, limit) if isinstance(limit, int) else int(per_epoch * limit)
    steps_per_epoch = math.ceil(max(1, batches) / trainer.accumulate_grad_batches)
    max_epochs = trainer.max_epochs or 1
    if trainer.max_steps > 0:
        return trainer.max_steps if max_epochs < 0 else min(trainer.max_steps, steps_per_epoch * max_epochs)
    return steps_per_epoch * max_epochs
