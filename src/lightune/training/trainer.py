"""Lightning's Trainer with the defaults of ``conf/train.yaml``."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning import Trainer

from lightune.models import cpu
from lightune.models.precision import trainer_arguments
from lightune.runs.checkpoint_io import CheckpointIO


def make_trainer(
    *,
    trainer_class: Callable[..., Trainer] = Trainer,
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    precision: str | int = "auto",
    max_epochs: int | None = 3,
    gradient_clip_val: float | None = 1.0,
    log_every_n_steps: int = 10,
    enable_model_summary: bool = False,
    use_distributed_sampler: bool = False,
    plugins: Iterable[Any] = (),
    **settings: Any,
) -> Trainer:
    """Make a Trainer that trains as ``python train.py`` does, given the same seeds.

    These are ``lightning.seed_everything(seed)`` before the model is loaded, and the callback ``StepSeed(seed)``.
    ``precision`` may be ``auto``: bf16-mixed where the hardware multiplies bfloat16, else 32-true. ``settings`` and the
    others are arguments of ``trainer_class``.
    """
    cpu.speed_up()
    resolved = trainer_arguments(precision, accelerator=accelerator)
    return trainer_class(
        accelerator=accelerator,
        devices=devices,
        max_epochs=max_epochs,
        gradient_clip_val=gradient_clip_val,
        log_every_n_steps=log_every_n_steps,
        enable_model_summary=enable_model_summary,
        use_distributed_sampler=use_distributed_sampler,
        plugins=[CheckpointIO(), *resolved.pop("plugins", []), *plugins],
        **resolved,
        **settings,
    )
