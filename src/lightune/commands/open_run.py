"""A finished run, or several that answer together, ready to be used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightune.common.fast_imports import fast_imports
from lightune.config import load_run_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lightune.data import DataModule
    from lightune.data.preprocessors.base import Preprocessor
    from lightune.tasks import Task


def load(*folders: Path) -> "tuple[DictConfig, Task, Preprocessor]":
    """Rebuild a run's task, with the best checkpoint's weights, and its preprocessor; of several runs one for all."""
    for folder in folders:
        load_run_config(folder)  # what is wrong with it is said before torch is imported

    with fast_imports():
        from lightune.common.quiet import quiet
        from lightune.models import cpu
        from lightune.runs.ensemble import rebuild_together

    quiet()
    cpu.speed_up()
    run = rebuild_together(folders)
    return run.cfg, run.task, run.preprocessor


def held_out(cfg: "DictConfig", task: "Task", preprocessor: "Preprocessor", **changes: Any) -> "DataModule":
    """Read a run's data again, with ``changes`` of its options; a UserError if it cannot be, or has other labels."""
    from lightune.runs.load_run import check_labels, make_data

    data = make_data(cfg, preprocessor, unlabeled_path=None, **changes)
    data.setup()
    check_labels(data, trained_on=task.model.config.id2label)
    return data
