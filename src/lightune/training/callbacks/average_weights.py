"""The moving average of the trained weights, in place of the weights themselves."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.common.trainer_state import completes_step, is_fitting
from lightune.models.sharding import FullyShardedStrategy

KEY = "averaging"


class AverageWeights(Callback):
    """Validate, and save in checkpoints, the exponential moving average of the trained weights (Polyak and Juditsky, 1992).

    Training itself goes on from the latest weights, which ``last.ckpt`` holds too. The average is kept in float32.

    Args:
        decay: the share that the average keeps in each step. The first steps keep less, ``(1 + step) / (10 + step)``, so
            that short runs forget the weights they began with.
    """

    def __init__(self, *, decay: Share) -> None:
        self.decay = decay
        # by name: the weights that are or will be trained, their averages, and their values while they hold the averages
        self._weights: dict[str, nn.Parameter] = {}
        self._averages: dict[str, Tensor] = {}
        self._latest: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, FullyShardedStrategy):
            raise UserError("callbacks=ema averages whole weights, trainer=fsdp distributes them: trainer=ddp")
        if stage == "fit":
            self._weights = {name: weight for name, weight in pl_module.named_parameters() if weight.requires_grad}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a resumed run has loaded averages
        begin = self._averages or self._weights
        for name, weight in self._weights.items():
            self._averages[name] = begin[name].detach().to(weight.device, torch.float32, copy=True)

    def on_train_batch_start(self, *_: Any) -> None:
        # after a validation, and whatever was saved of it
        if self._latest:
            self._fill(self._latest)
            self._latest = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if completes_step(trainer):
            kept = min(self.decay, (1 + trainer.global_step) / (10 + trainer.global_step))
            weights = [weight.detach().float() for weight in self._weights.values()]
            torch._foreach_lerp_(list(self._averages.values()), weights, 1 - kept)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer):
            self._latest = {name: weight.detach().clone() for name, weight in self._weights.items()}
            self._fill(self._averages)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        latest = self._latest or {name: weight.detach() for name, weight in self._weights.items()}
        checkpoint[KEY] = {"averages": self._averages, "latest": latest}
        # tied weights have several names
        names = {id(weight): name for name, weight in self._weights.items()}
        for name, tensor in pl_module.state_dict(keep_vars=True).items():
            if id(tensor) in names:
                checkpoint["state_dict"][name] = self._averages[names[id(tensor)]].to(tensor.dtype)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._averages = checkpoint[KEY]["averages"]
            self._fill(checkpoint[KEY]["latest"])

    def _fill(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(values[name])
