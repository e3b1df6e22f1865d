"""Frozen lowest layers run once for each row, not once an epoch."""

import logging
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets.config
import torch
import transformers
from filelock import FileLock
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightune.data.batches.frozen_states import FrozenStates
from lightune.models.frozen_layers import FrozenLayers
from lightune.tasks.batch import inputs

log = logging.getLogger(__name__)

SPLITS = ("train", "validation")  # test rows go once, through the whole model as it will be used


class CacheFrozenLayers(Callback):
    """Keep what frozen embeddings and lowest layers make of each row on disk; later epochs and runs read it.

    Nothing is kept where not even the lowest layer is frozen, where rows change from epoch to epoch (masked
    words) or go through more than an encoder, under FSDP, where the disk has no room, or where an architecture
    does not let its layers be left out: one batch is computed both ways to find out.

    The files lie beside the tokenized rows, named by the rows, the frozen weights and the precision. They hold
    two bytes for each token and hidden unit: IMDB's 25,000 training rows at 256 tokens with MiniLM take 4 GB.
    """

    def __init__(self) -> None:
        self._until_teardown = ExitStack()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task: Any = pl_module
        trunk = FrozenLayers.of(task.model)
        plain = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if trunk is None or not task.encodes_rows or not plain:
            return
        modes = {module: module.training for module in task.modules()}
        task.eval()
        try:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                why_not = self._set_up(trainer, task, trunk)
        finally:
            for module, training in modes.items():
                module.training = training
        if trainer.is_global_zero:
            when = "in every epoch: " + why_not if why_not else "once for each row"
            log.info(f"The lowest {len(trunk.layers)} layers are frozen and run {when}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._until_teardown.close()
        trainer.datamodule.frozen_states = {}  # type: ignore[attr-defined]

    def _set_up(self, trainer: Trainer, task: Any, trunk: FrozenLayers) -> str | None:
        """Write what is not there yet and have it read; return the reason where that cannot be."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = trainer.strategy.batch_to_device(next(iter(data.every_row("validation")[1])))
        if not trunk.can_be_left_out(task.model, inputs(batch)):
            return f"{type(task.model).__name__} does not let them be left out"
        found: dict[str, FrozenStates] = {}
        for split in SPLITS:
            file, loader = states_file(
                data,
                split,
                trunk=trunk,
                precision=str(trainer.precision),
                width=task.model.config.hidden_size,
            )
            folder = file.path.parent
            with FileLock(file.path.with_suffix(".lock")):
                if not file.path.exists():
                    free = shutil.disk_usage(folder).free
                    if free < file.num_bytes:
                        return (
                            f"{file.num_bytes / 1e9:.1f} GB are needed, {folder} has {free / 1e9:.1f} GB free"
                        )
                    batches = map(trainer.strategy.batch_to_device, loader)
                    file.write(trunk.states(task.model, inputs(batch)) for batch in batches)
            found[split] = file
        data.frozen_states = found
        self._until_teardown.enter_context(trunk.replaced(task.model))
        return None


def states_file(
    data: Any, split: str, *, trunk: FrozenLayers, precision: str, width: int
) -> tuple[FrozenStates, Iterable[dict[str, Any]]]:
    """Return where the states of a split's rows are kept, there or not yet, and the rows in the file's order."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "trunk"
    folder.mkdir(parents=True, exist_ok=True)
    order, loader = data.every_row(split)
    rows = data.datasets[split]
    key = [trunk.digest(), precision, torch.__version__, transformers.__version__, rows._fingerprint]
    name = sha256("\n".join(key).encode() + order.tobytes()).hexdigest()
    return FrozenStates(folder / name, lengths=data.lengths(split), order=order, width=width), loader
