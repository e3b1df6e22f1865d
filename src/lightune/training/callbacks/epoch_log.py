"""One line per validation in ``train.log``, and on the screen where no progress bar can be drawn."""

import logging

from lightning import Callback, LightningModule, Trainer

from lightune.common.trainer_state import is_fitting

log = logging.getLogger(__name__)

MAX_CHARACTERS = 200


class EpochLog(Callback):
    """Log loss, monitored metric, speed and a few generated texts after each validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_fitting(trainer) or not trainer.is_global_zero:
            return
        monitored = getattr(pl_module, "monitor", ("val/loss", "min"))[0]
        names = dict.fromkeys(["train/loss", "val/loss", monitored, "train/samples_per_second"])
        metrics = trainer.callback_metrics
        figures = ", ".join(f"{name} {float(metrics[name]):.4g}" for name in names if name in metrics)
        log.info("epoch %d, step %d: %s", trainer.current_epoch + 1, trainer.global_step, figures)
        for example in getattr(pl_module, "examples", ()):
            texts = (" ".join(text.split())[:MAX_CHARACTERS] for text in example)
            log.info("  source     %s\n  prediction %s\n  reference  %s", *texts)
