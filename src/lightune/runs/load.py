"""A finished run's task, built again from its folder, with the best checkpoint's weights."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from lightune.common.errors import UserError
from lightune.config import load_run_config
from lightune.data import DataModule
from lightune.data.preprocessors.base import Preprocessor
from lightune.runs.run import Run
from lightune.tasks import Task
from lightune.tuning import trained_only

log = logging.getLogger(__name__)


def rebuild(folder: Path) -> tuple[DictConfig, Task, Preprocessor]:
    """Read a run; where its checkpoint holds only what was trained, the rest is loaded again by its name.

    Raises:
        UserError: this is not the folder of a finished run, or what it needs cannot be loaded.
    """
    cfg = load_run_config(folder)
    run = Run(folder)
    checkpoint = run.best_checkpoint()
    saved = instantiate(
        cfg.model,
        pretrained_model_name_or_path=str(run.model),
        from_run=None,
        load_weights=False,
        _convert_="all",
    )
    if trained_only.KEY in checkpoint:
        pretrained, head = instantiate(cfg.model, _convert_="all"), run.head()
        log.info("The checkpoint holds only what was trained; the rest is loaded from %s", pretrained.name)
    else:
        pretrained, head = saved, {}
    task: Any = instantiate(cfg.task, pretrained=pretrained, head=head, _convert_="all")
    run.load_weights(task, checkpoint)
    preprocessor = instantiate(cfg.preprocessor, tokenizer=saved.load_tokenizer(), _convert_="all")
    return cfg, task, preprocessor


def rebuild_data(folder: Path) -> DataModule:
    """Read a run's data again, split and tokenized as it was, without its weights.

    Raises:
        UserError: this is not a run folder, or the data is not where it was.
    """
    cfg = load_run_config(folder)
    saved = instantiate(
        cfg.model,
        pretrained_model_name_or_path=str(Run(folder).model),
        from_run=None,
        load_weights=False,
        _convert_="all",
    )
    preprocessor = instantiate(cfg.preprocessor, tokenizer=saved.load_tokenizer(), _convert_="all")
    data: DataModule = instantiate(cfg.datamodule, preprocessor=preprocessor, _convert_="all")
    data.setup()
    return data


def merged_weights(folder: Path) -> dict[str, Tensor]:
    """Return all weights of a run whose checkpoint holds only what was trained, adapters added to their matrices.

    Raises:
        UserError: see :func:`rebuild`.
    """
    from lightune.tuning.lora import merge

    try:
        _, task, _ = rebuild(folder)
    except UserError as error:
        raise UserError(f"The run {folder} cannot be built again: {error}") from error
    merge(task.model)
    weights: dict[str, Tensor] = task.state_dict()
    return weights
