"""One line an epoch in ``train.log``, and on the screen where no progress bar can be drawn."""

import logging

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

log = logging.getLogger(__name__)

MOST_CHARACTERS = 200


class EpochLog(Callback):
    """Log loss, monitored metric and speed at the end of each validation, and a few generated texts."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        monitored = getattr(pl_module, "monitor", ("val/loss", "min"))[0]
        names = ["train/loss", "val/loss", monitored, "train/samples_per_second"]
        shown = [
            f"{name} {float(trainer.callback_metrics[name]):.4g}"
            for name in dict.fromkeys(names)
            if name in trainer.callback_metrics
        ]
        log.info("epoch %d, step %d: %s", trainer.current_epoch + 1, trainer.global_step, ", ".join(shown))
        for source, prediction, reference in getattr(pl_module, "examples", ()):
            log.info(
                "  source     %s\n  prediction %s\n  reference  %s",
                *map(_short, (source, prediction, reference)),
            )


def _short(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS]
