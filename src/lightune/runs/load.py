"""A finished run's task, built again from its folder, with the best checkpoint's weights."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from lightune.common.errors import UserError
from lightune.config import load_run_config
from lightune.data import DataModule
from lightune.data.preprocessors.base import Preprocessor
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run import Run
from lightune.tasks import Task
from lightune.tuning import trained_only
from lightune.tuning.lora import merge

log = logging.getLogger(__name__)


def pretrained_model(model: DictConfig, **settings: Any) -> PretrainedModel:
    """Return what a configuration's ``model`` names; with ``from_run``, a finished run's best weights.

    Args:
        model: the node.
        settings: of :class:`PretrainedModel`, in place of the node's.

    Raises:
        UserError: ``from_run`` is not the folder of a finished run.
    """
    options = {name: value for name, value in model.items() if name != "from_run"}
    if model.get("from_run") is not None:
        run = Run(Path(model.from_run).expanduser())
        run.check_model()
        run.check_best()
        options |= {
            "pretrained_model_name_or_path": str(run.model),
            "state_dict": partial(model_weights, run),
        }
    pretrained: PretrainedModel = instantiate(options | settings, _convert_="all")
    return pretrained


def saved_model(run: Run, model: DictConfig) -> PretrainedModel:
    """Return a run's own tokenizer and architecture, for its checkpoint to fill."""
    options: Any = {**model, "from_run": None}
    return pretrained_model(options, pretrained_model_name_or_path=str(run.model), load_weights=False)


def rebuild(folder: Path) -> tuple[DictConfig, Task, Preprocessor]:
    """Read a run; where its checkpoint holds only what was trained, the rest is loaded again by its name.

    Raises:
        UserError: this is not the folder of a finished run, or what it needs cannot be loaded.
    """
    cfg = load_run_config(folder)
    run = Run(folder)
    checkpoint = run.best_checkpoint()
    saved = saved_model(run, cfg.model)
    if trained_only.KEY in checkpoint:
        pretrained, head = pretrained_model(cfg.model), run.head()
        log.info("The checkpoint holds only what was trained; the rest is loaded from %s", pretrained.name)
    else:
        pretrained, head = saved, {}
    task: Any = instantiate(cfg.task, pretrained=pretrained, head=head, _convert_="all")
    load_weights(task, checkpoint, path=run.best)
    preprocessor = instantiate(cfg.preprocessor, tokenizer=saved.load_tokenizer(), _convert_="all")
    return cfg, task, preprocessor


def rebuild_data(folder: Path) -> DataModule:
    """Read a run's data again, split and tokenized as it was, without its weights.

    Raises:
        UserError: this is not a run folder, or the data is not where it was.
    """
    cfg = load_run_config(folder)
    saved = saved_model(Run(folder), cfg.model)
    preprocessor = instantiate(cfg.preprocessor, tokenizer=saved.load_tokenizer(), _convert_="all")
    data: DataModule = instantiate(cfg.datamodule, preprocessor=preprocessor, _convert_="all")
    data.setup()
    return data


def load_weights(task: Task, checkpoint: dict[str, Any], *, path: Path) -> None:
    """Fill a task with a checkpoint's weights.

    Args:
        task: in place.
        checkpoint: as :func:`lightune.runs.checkpoints.read_checkpoint` returns it.
        path: where it lies, for the message.

    Raises:
        UserError: they do not fit.
    """
    try:
        task.on_load_checkpoint(checkpoint)
        task.load_state_dict(checkpoint["state_dict"], strict=task.strict_loading)
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded: {str(error).splitlines()[0][:200]}") from error


def model_weights(run: Run) -> dict[str, Tensor]:
    """Return the best checkpoint's weights by the names that transformers gives them, adapters merged.

    Raises:
        UserError: there is no such checkpoint, or it cannot be read.
    """
    checkpoint = run.best_checkpoint()
    weights = merged_weights(run.folder) if trained_only.KEY in checkpoint else checkpoint["state_dict"]
    state = {
        name.removeprefix("model."): tensor for name, tensor in weights.items() if name.startswith("model.")
    }
    if all(name.startswith(("encoder.", "classifier.")) for name in state):  # a PooledClassifier
        state = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
    return state


def merged_weights(folder: Path) -> dict[str, Tensor]:
    """Return all weights of a run whose checkpoint holds only what was trained, adapters added to their matrices.

    Raises:
        UserError: see :func:`rebuild`.
    """
    try:
        _, task, _ = rebuild(folder)
    except UserError as error:
        raise UserError(f"The run {folder} cannot be built again: {error}") from error
    merge(task.model)
    weights: dict[str, Tensor] = task.state_dict()
    return weights
