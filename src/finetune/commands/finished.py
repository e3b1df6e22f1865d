"""A finished run, ready to be used."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.config import load_run_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from finetune.data.preprocessor import Preprocessor
    from finetune.tasks import Task


def load(folder: Path) -> "tuple[DictConfig, Task, Preprocessor]":
    """Rebuild a run's task, with the best checkpoint's weights, and its preprocessor."""
    load_run_config(folder)  # what is wrong with it is said before torch is imported

    from finetune import cpu
    from finetune.quiet import quiet
    from finetune.rebuild import rebuild

    quiet()
    cpu.speed_up()
    return rebuild(folder)


def inference_trainer(cfg: "DictConfig") -> Any:
    """Make the Trainer that measures and predicts with a run: one device, nothing written."""
    import lightning

    from finetune import precision

    return lightning.Trainer(
        devices=1,
        precision=precision.resolve(cfg.trainer.precision, accelerator="auto"),  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )
