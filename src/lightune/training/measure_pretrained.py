"""What a language model writes before the first step: figures and texts to hold the tuned model's against."""

import json
import logging
import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.seed import isolate_rng

from lightune.common.files import write_json
from lightune.data import DataModule
from lightune.models.model_parts import is_decoder_only
from lightune.runs.run_folder import Run

log = logging.getLogger(__name__)


def measure_pretrained(trainer: Trainer, task: Any, data: DataModule, run: Run) -> dict[str, float]:
    """Return the ``pretrained/…`` figures of a causal language model on the test rows; of other models none.

    Texts are generated for the sample of ``task.generation.max_samples``. A run that was stopped measured them before.
    """
    if not task.streams or not is_decoder_only(task.model.config):
        return {}
    if not run.pretrained.is_file():
        start = time.perf_counter()
        loggers, trainer.loggers, task.sample.is_always = trainer.loggers, [], True
        with isolate_rng():
            (found,) = trainer.test(task, data, verbose=False)
        trainer.loggers, task.sample.is_always = loggers, False
        figures = {name.replace("test/", "pretrained/"): value for name, value in found.items()}
        if trainer.is_global_zero:
            write_json(run.pretrained, {"metrics": figures, "texts": task.written})
        seconds = time.perf_counter() - start
        hint = "measure_pretrained=false leaves that out"
        rank_zero_only(log.info)(f"measured the pretrained model in {seconds:.0f} s; {hint}")
        return figures
    return dict(json.loads(run.pretrained.read_text(encoding="utf-8"))["metrics"])
