"""Run the frozen lowest layers once per row, not once per epoch."""

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

from lightune.common.files import remove_unused
from lightune.data.batches.frozen_states import FrozenStates
from lightune.models.frozen_layers import FrozenLayers
from lightune.tasks.batch import inputs

log = logging.getLogger(__name__)

# Test rows run once, through the whole model as it will be used.
SPLITS = ("train", "validation")


class CacheFrozenLayers(Callback):
    """Cache on disk what the frozen embeddings and lowest layers return for each row; later epochs and runs read it.

    Nothing is cached where not even the lowest layer is frozen, where rows change between epochs (masked words) or pass
    through more than an encoder, under FSDP, where the disk is too full, or where the architecture computes something
    else without these layers: one batch is computed both ways to find out.

    The files lie beside the tokenized rows. Their names depend on the rows, the frozen weights, the configuration and
    the precision. They take two bytes per token and hidden unit: IMDB's 25,000 training rows at 256 tokens with MiniLM
    take 4 GB. One that no run has read for 30 days is removed.
    """

    def __init__(self) -> None:
        # training reads the cache
        self.is_active = False
        self._until_teardown = ExitStack()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task: Any = pl_module
        frozen_layers = FrozenLayers.of(task.model)
        has_whole_model = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if frozen_layers is None or not task.encodes_rows or not has_whole_model:
            return
        modes = {module: module.training for module in task.modules()}
        task.eval()
        try:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                obstacle = self._cache(trainer, task, frozen_layers)
        finally:
            for module, training in modes.items():
                module.training = training
        self.is_active = obstacle is None
        if trainer.is_global_zero:
            when = f"in every epoch: {obstacle}" if obstacle else "once for each row"
            log.info(f"The lowest {len(frozen_layers.layers)} layers are frozen and run {when}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._until_teardown.close()
        trainer.datamodule.frozen_states = {}  # type: ignore[attr-defined]

    def _cache(self, trainer: Trainer, task: Any, frozen_layers: FrozenLayers) -> str | None:
        """Write the missing files and let training read them; return the reason where that is impossible."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = trainer.strategy.batch_to_device(next(iter(data.every_row("validation")[1])))
        if not frozen_layers.can_be_skipped(task.model, inputs(batch)):
            return f"{type(task.model).__name__} does not let them be left out"
        files: dict[str, FrozenStates] = {}
        for split in SPLITS:
            file, loader = states_file(trainer, task, data, split, frozen_layers=frozen_layers)
            folder = file.path.parent
            with FileLock(file.path.with_suffix(".lock")):
                remove_unused(folder, used=file.path)
                if not file.path.exists():
                    needed, free = file.num_bytes, shutil.disk_usage(folder).free
                    if free < needed:
                        return f"they need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free"
                    batches = map(trainer.strategy.batch_to_device, loader)
                    file.write(frozen_layers.states(task.model, inputs(batch)) for batch in batches)
            files[split] = file
        data.frozen_states = files
        self._until_teardown.enter_context(frozen_layers.skipped(task.model))
        return None


def states_file(
    trainer: Trainer, task: Any, data: Any, split: str, *, frozen_layers: FrozenLayers
) -> tuple[FrozenStates, Iterable[dict[str, Any]]]:
    """Return the cache file of a split, written or not, and a loader of the split's rows in the file's order."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "trunk"
    folder.mkdir(parents=True, exist_ok=True)
    order, loader = data.every_row(split)
    key = [
        *(frozen_layers.digest(), str(trainer.precision), torch.__version__, transformers.__version__),
        data.datasets[split]._fingerprint,
    ]
    name = sha256("\n".join(key).encode() + order.tobytes()).hexdigest()
    width = task.model.config.hidden_size
    return FrozenStates(folder / name, lengths=data.lengths(split), order=order, width=width), loader
