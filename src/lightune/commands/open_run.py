"""A finished run, ready to be used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightune.common.errors import UserError
from lightune.config import load_run_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lightune.data import DataModule
    from lightune.data.preprocessors.base import Preprocessor
    from lightune.tasks import Task


def load(folder: Path) -> "tuple[DictConfig, Task, Preprocessor]":
    """Rebuild a run's task, with the best checkpoint's weights, and its preprocessor."""
    load_run_config(folder)  # what is wrong with it is said before torch is imported

    from lightune.common.quiet import quiet
    from lightune.models import cpu
    from lightune.runs.load_run import rebuild

    quiet()
    cpu.speed_up()
    return rebuild(folder)


def held_out(cfg: "DictConfig", task: "Task", preprocessor: "Preprocessor", **changes: Any) -> "DataModule":
    """Read a run's data again; ``changes`` are options of the DataModule.

    Raises:
        UserError: it cannot be read, or its labels are not those that the run was trained on.
    """
    from lightune.runs.load_run import make_data

    data = make_data(cfg, preprocessor, **changes)
    data.setup()
    trained_on = list(task.model.config.id2label.values())
    labels = list(data.head.get("id2label", {}).values())
    if labels and labels != trained_on:
        raise UserError(
            f"The data has changed since the run: its labels are {labels}, "
            f"the run was trained on {trained_on}.\nRestore the data at {cfg.data.path}."
        )
    return data
