"""How fast the weights move: parameter groups, learning-rate schedules and the number of steps that they span."""

import math
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

from lightning import Trainer
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.common.trainer_state import limited
from lightune.config.arguments import named_by, schedule_arguments
from lightune.data import DataModule
from lightune.data.batches.dealt import Dealt
from lightune.models.model_parts import EMBEDDING_NAMES, base_model

# the stack and the index of the layer in a weight's name
LAYER = re.compile(r"(.*?)\.(\d+)\.")
NOT_DECAYED = re.compile(r"bias$|norm|\bln_\w+\.weight$")

adamw = partial(AdamW, lr=2e-5, weight_decay=0.01, fused=True)
"""AdamW as ``conf/optimizer/adamw.yaml`` makes it; ``partial(adamw, lr=1e-4)`` has another learning rate."""


def parameter_groups(model: nn.Module, *, layerwise_lr_decay: float | None = None) -> list[dict[str, Any]]:
    """Split the trainable parameters in two groups: matrices with weight decay, biases and norms without.

    Names tell them apart, not shapes, which FSDP flattens. Source: Devlin et al. (2019) train BERT so.

    ``layerwise_lr_decay`` splits the groups further by layer (Sun et al., 2019). It adds the factor of a group's learning
    rate, ``lr_scale``: 1 for the head and the top layer, multiplied by the decay for each layer below, and once more for
    the embeddings. Encoder and decoder are counted separately.

    Raises:
        UserError: the factor is not above 0 and up to 1.
    """
    if layerwise_lr_decay is not None and not 0 < layerwise_lr_decay <= 1:
        raise UserError(f"layerwise_lr_decay={layerwise_lr_decay}: expected a factor above 0 and up to 1.")
    depths = layers_above(model) if layerwise_lr_decay is not None else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, True): [], (0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_decayed = NOT_DECAYED.search(name.lower()) is None
            groups.setdefault((depths.get(parameter, 0), is_decayed), []).append(parameter)
    return [
        {"params": parameters}
        | ({} if is_decayed else {"weight_decay": 0.0})
        | ({} if layerwise_lr_decay is None else {"lr_scale": layerwise_lr_decay**depth})
        for (depth, is_decayed), parameters in groups.items()
    ]


def make_optimizer(
    factory: Callable[..., Optimizer], model: nn.Module, *, layerwise_lr_decay: float | None
) -> Optimizer:
    """Make an optimizer of all parameters that are trainable now, by a factory that takes parameter groups.

    A parameter that is frozen later gets no gradient, and no state before its first gradient.
    """
    optimizer = factory(parameter_groups(model, layerwise_lr_decay=layerwise_lr_decay))
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 1.0)
    # fused optimizers set it to True, and Lightning then refuses to clip their gradients in mixed precision
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def layers_above(model: nn.Module) -> dict[nn.Parameter, int]:
    """Count the layers above each parameter of the body; the top layer has 0."""
    layers: dict[nn.Parameter, tuple[str, int]] = {}
    heights: dict[str, int] = {}
    embeddings = []
    for name, parameter in base_model(model).named_parameters():
        if match := LAYER.match(name):
            stack, index = match[1], int(match[2])
            layers[parameter] = stack, index
            heights[stack] = max(heights.get(stack, 0), index + 1)
        elif EMBEDDING_NAMES.search(name):
            embeddings.append(parameter)
    above = {parameter: heights[stack] - 1 - index for parameter, (stack, index) in layers.items()}
    return above | dict.fromkeys(embeddings, max(heights.values(), default=0))


def schedule(
    optimizer: Optimizer, *, num_training_steps: int, name: str = "linear", warmup_ratio: Share = 0.1
) -> LRScheduler:
    """Make one of transformers' schedules, by its name in ``transformers.SchedulerType``.

    The rate rises from 0 to the optimizer's own over ``warmup_ratio`` of all steps.
    """
    warmup = math.ceil(warmup_ratio * num_training_steps)
    made: LRScheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=num_training_steps)
    return made


def make_scheduler(
    factory: Callable[..., Any], optimizer: Optimizer, *, interval: str, monitor: str | None, length: int
) -> dict[str, Any]:
    """Make a schedule, as Lightning takes it from ``configure_optimizers``.

    One that watches a figure is left to the task, which moves it after each validation: Lightning does so after epochs or
    steps. ``length`` is the run's, in steps or epochs as ``interval`` says.
    """
    scheduler = factory(optimizer, **schedule_arguments(factory, optimizer, length=length))
    if named_by(scheduler.step, {"metrics": None}):
        never = {"interval": "step", "frequency": sys.maxsize}
        return {"scheduler": scheduler, "reduce_on_plateau": True, "monitor": monitor or "val/loss", **never}
    return {"scheduler": scheduler, "interval": interval}


def switch(optimizers: Iterable[Any], mode: Literal["train", "eval"]) -> None:
    """Let optimizers that have both modes give the weights that are trained, or measured (Defazio et al., 2024)."""
    for optimizer in optimizers:
        if all(callable(getattr(optimizer, name, None)) for name in ("train", "eval")):
            getattr(optimizer, mode)()


def num_training_steps(
    trainer: Trainer, *, batches_per_epoch: Callable[..., int] | None = None, dealt: Dealt | None = None
) -> int:
    """Count the optimizer steps of a run from the Trainer's settings, by default of the fit that has begun.

    ``trainer.estimated_stepping_batches`` would build the data loaders, too early for a run that is resumed.
    ``batches_per_epoch`` counts the batches that each of ``world_size`` devices sees in an epoch; ``dealt`` holds the
    steps and batches before the run was resumed, perhaps with fewer or more in an epoch.
    """
    if batches_per_epoch is None:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, DataModule):
            return int(trainer.estimated_stepping_batches)
        batches_per_epoch, dealt = data.batches_per_epoch, data.dealt
    batches = limited(batches_per_epoch(world_size=trainer.world_size), trainer.limit_train_batches)
    steps_per_epoch = math.ceil(max(1, batches) / trainer.accumulate_grad_batches)
    max_epochs = trainer.max_epochs or 1
    steps = steps_per_epoch * max_epochs
    if dealt is not None and dealt.start is not None:
        in_epoch = dealt.start // trainer.accumulate_grad_batches if dealt.start < batches else steps_per_epoch
        steps += dealt.steps - steps_per_epoch * dealt.epoch - in_epoch
    if trainer.max_steps > 0:
        return trainer.max_steps if max_epochs < 0 else min(trainer.max_steps, steps)
    return steps
