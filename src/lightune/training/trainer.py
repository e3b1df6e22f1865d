"""Lightning's Trainer with this project's defaults."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning import Trainer

from lightune.models import cpu
from lightune.models.precision import trainer_arguments
from lightune.runs.checkpoint_io import CheckpointIO

DEFAULTS: dict[str, Any] = {
    "devices": 1,
    "max_epochs": 3,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""Those of ``conf/train.yaml`` that are not Lightning's."""


def make_trainer(
    *,
    trainer_class: Callable[..., Trainer] = Trainer,
    accelerator: str = "auto",
    precision: str | int = "auto",
    plugins: Iterable[Any] = (),
    **settings: Any,
) -> Trainer:
    """Make a Trainer that trains as ``python train.py`` does, given the same seeds.

    These are ``lightning.seed_everything(seed)`` before the model is loaded, and the callback ``StepSeed(seed)``.
    ``precision`` may be ``auto``, see ``lightune.models.precision.resolve``; ``settings`` are Lightning's, as are the others.
    """
    cpu.speed_up()
    settings = DEFAULTS | trainer_arguments(precision, accelerator=accelerator) | settings
    plugins = [CheckpointIO(), *settings.pop("plugins", []), *plugins]
    return trainer_class(accelerator=accelerator, plugins=plugins, **settings)
