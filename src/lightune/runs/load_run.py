"""Make the parts of an experiment from its configuration, and a finished run's with its best weights."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_class, instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.common.quiet import quiet
from lightune.config import load_run_config
from lightune.config.arguments import named_by
from lightune.data import DataModule
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.sources.stream import RejectedRow, read_rows
from lightune.models import cpu
from lightune.models.model_parts import is_decoder_only
from lightune.models.model_with_head import HEAD, head_prefix
from lightune.models.pretrained import PretrainedModel
from lightune.runs.inference import Predictor
from lightune.runs.predict import SMALL_CHUNK, predict
from lightune.runs.run_folder import Run
from lightune.tasks import Task
from lightune.tuning import trained_only
from lightune.tuning.distillation import Teacher
from lightune.tuning.lora import merge
from lightune.tuning.optimizer_and_schedule import num_training_steps as steps_of_run
from lightune.tuning.recipe import Recipe

log = logging.getLogger(__name__)


def make_pretrained(cfg: DictConfig, **changes: Any) -> PretrainedModel:
    """Make the pretrained model that ``model`` names, or the finished run that ``model.from_run`` names.

    ``changes`` are options of ``PretrainedModel`` in place of the configuration's.

    Raises:
        UserError: ``from_run`` is not the folder of a finished run.
    """
    if cfg.model.get("from_run") is None:
        return _instantiate(cfg, **changes)
    run = Run(Path(cfg.model.from_run).expanduser())
    run.check_model()
    run.check_best()
    return _instantiate(
        cfg, pretrained_model_name_or_path=str(run.model), state_dict=partial(model_weights, run), **changes
    )


def make_saved(cfg: DictConfig, run: Run) -> PretrainedModel:
    """Make a run's own tokenizer and architecture, for its checkpoint to fill."""
    return _instantiate(cfg, pretrained_model_name_or_path=str(run.model), load_weights=False, compile=False)


def _instantiate(cfg: DictConfig, **changes: Any) -> PretrainedModel:
    options = {name: value for name, value in cfg.model.items() if name != "from_run"} | changes
    # older runs, and other tasks, know no head of one's own
    if cfg.get("task", {}).get("head") is not None:
        if not task_class(cfg).takes_head:
            raise UserError(f"task.head: {task_class(cfg).__name__} takes no head of one's own. Leave it out.")
        options["make_head"] = instantiate(cfg.task.head, _partial_=True, _convert_="all")
    pretrained: PretrainedModel = instantiate(options, _convert_="all")
    return pretrained


def fit_to_model(cfg: DictConfig, pretrained: PretrainedModel) -> DictConfig:
    """Return the configuration with the task's classes for a decoder-only model, if there are some and the model is one."""
    if "decoder_only" in cfg and is_decoder_only(pretrained.load_config()):
        return cast(DictConfig, OmegaConf.merge(cfg, cfg.decoder_only))
    return cfg


def make_preprocessor(cfg: DictConfig, tokenizer: PreTrainedTokenizerBase) -> Preprocessor:
    """Make the preprocessor of the task, with those options of ``data`` that its signature names."""
    options = named_by(get_class(cfg.preprocessor._target_), _plain(cfg.data))
    preprocessor: Preprocessor = instantiate(cfg.preprocessor, tokenizer=tokenizer, **options, _convert_="all")
    return preprocessor


def make_data(cfg: DictConfig, preprocessor: Preprocessor, **changes: Any) -> DataModule:
    """Make the DataModule, with those options of ``data`` that its signature names, but for the changes."""
    options = named_by(DataModule, _plain(cfg.data)) | {"seed": cfg.seed} | changes
    return DataModule(preprocessor=preprocessor, **options)


def check_labels(data: DataModule, *, trained_on: dict[int, str]) -> None:
    """Raise a UserError for data whose labels, or their order, are not those that a run was trained on."""
    labels, names = list(data.head.get("id2label", {}).values()), list(trained_on.values())
    if labels and labels != names:
        raise UserError(
            f"The data has changed since the run: its labels are {labels}, the run was trained on {names}.\n"
            f"Restore the data at {data.path}."
        )


def task_class(cfg: DictConfig) -> type[Task]:
    """Return the class of a run's task, which says what the task can do."""
    task: type[Task] = get_class(cfg.task._target_)
    return task


def make_task(
    cfg: DictConfig,
    *,
    pretrained: PretrainedModel,
    head: dict[str, Any],
    num_training_steps: Callable[[Trainer], int] | None = None,
    teacher: Teacher | None = None,
) -> Task:
    """Make the task and its recipe.

    ``head`` is what the data or a finished run says of it; ``num_training_steps`` counts the optimizer steps of a run,
    None: those of its fit.
    """
    parts = {name: instantiate(cfg[name], _convert_="all") for name in ("tuning", "optimizer", "scheduler")}
    # the folder of an older run may lack some
    names = ("layerwise_lr_decay", "scheduler_interval", "scheduler_monitor")
    parts |= {name: cfg[name] for name in names if name in cfg}
    recipe = Recipe(**parts, num_training_steps=num_training_steps or steps_of_run, teacher=teacher)
    # Hydra would turn the recipe, a dataclass, into a dict
    node = {name: value for name, value in _plain(cfg.task).items() if name not in ("head", "criterion")}
    make: Callable[..., Task] = instantiate(node, _partial_=True, _convert_="all")
    loss = cfg.task.get("criterion")
    # the task makes it: it knows the labels
    given = {} if loss is None else {"criterion": instantiate(loss, _partial_=True, _convert_="all")}
    return make(pretrained=pretrained, head=head, recipe=recipe, **given)


def _plain(node: DictConfig) -> Any:
    return OmegaConf.to_container(node, resolve=True)


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A finished run's configuration, its task with the best checkpoint's weights, and its preprocessor."""

    cfg: DictConfig
    task: Task
    preprocessor: Preprocessor

    def predict(self, rows: Iterable[Any], *, batch_size: int = 32) -> list[dict[str, Any]]:
        """Return for each row what a line of ``lightune predict RUN --text …`` holds: its inputs and the prediction.

        Args:
            rows: texts (or lists of words, or of turns); of a run with several input columns tuples in the order of
                ``preprocessor.input_columns``; or dicts by column name, whose other values are kept.
            batch_size: rows in a batch.

        Raises:
            UserError: a row lacks a column, or the task cannot read it.
        """
        if isinstance(rows, str | Mapping) or hasattr(rows, "columns") or batch_size < 1:
            raise UserError(
                f"predict({type(rows).__name__}, batch_size={batch_size}): expected a list of rows, such as ['A text.']."
            )
        # a person may have trained on
        self.task.eval()
        read, chunk_rows = read_rows(rows, self.preprocessor.input_columns), batch_size * SMALL_CHUNK
        found = []
        for row in chain.from_iterable(predict(self._predictor, read, batch_size=batch_size, chunk_rows=chunk_rows)):
            if isinstance(row, RejectedRow):
                raise UserError(f"Row {row.line}, {row.raw!r:.80}: {row.reason}")
            found.append(row.values)
        return found

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.task, self.preprocessor, precision=self.cfg.trainer.precision, few_widths=True)


def load(run: str | Path) -> LoadedRun:
    """Set this process up, and load a finished run by its folder; see ``rebuild``."""
    quiet()
    cpu.speed_up()
    return LoadedRun(*rebuild(Path(run).expanduser()))


def rebuild(folder: Path) -> tuple[DictConfig, Task, Preprocessor]:
    """Rebuild a run's task with its best weights; weights that its checkpoint leaves out are loaded by name.

    Raises:
        UserError: this is not the folder of a finished run, or what it needs cannot be loaded.
    """
    cfg = load_run_config(folder)
    run = Run(folder)
    checkpoint = run.best_checkpoint()
    saved = make_saved(cfg, run)
    cfg = fit_to_model(cfg, saved)
    # before the model, which would load it too: both pad with one token
    preprocessor = make_preprocessor(cfg, saved.load_tokenizer())
    if trained_only.DIGEST_KEY in checkpoint:
        # compiling would take longer than most uses
        pretrained, head = make_pretrained(cfg, compile=False), run.head()
        log.info("The checkpoint holds only what was trained; the rest is loaded from %s", pretrained.name)
    else:
        pretrained, head = saved, run.head() if cfg.task.get("class_weights") else {}
    task = make_task(cfg, pretrained=pretrained, head=head)
    load_weights(task, checkpoint, path=run.best)
    return cfg, task, preprocessor


def make_run_data(folder: Path) -> DataModule:
    """Make a run's DataModule of its labelled rows, which has read nothing yet."""
    cfg = load_run_config(folder)
    saved = make_saved(cfg, Run(folder))
    cfg = fit_to_model(cfg, saved)
    return make_data(cfg, make_preprocessor(cfg, saved.load_tokenizer()), unlabeled_path=None)


def rebuild_data(folder: Path) -> DataModule:
    """Read a run's data again as in training, without its weights; raise a UserError where the data is gone."""
    data = make_run_data(folder)
    data.setup()
    return data


def load_weights(task: Task, checkpoint: dict[str, Any], *, path: Path) -> None:
    """Fill a task with a checkpoint's weights, or raise a UserError where they do not fit."""
    try:
        task.on_load_checkpoint(checkpoint)
        task.load_state_dict(checkpoint["state_dict"], strict=task.strict_loading)
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded: {str(error).splitlines()[0][:200]}") from error


def model_weights(run: Run) -> dict[str, Tensor]:
    """Return the best checkpoint's weights by the names that transformers gives them, adapters merged.

    Raises:
        UserError: there is no such checkpoint, or it cannot be read, or what it leaves out cannot be loaded.
    """
    checkpoint = run.best_checkpoint()
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    if trained_only.DIGEST_KEY in checkpoint:
        try:
            task = rebuild(run.folder)[1]
        except UserError as error:
            raise UserError(f"The run {run.folder} cannot be built again: {error}") from error
        merge(task.model)
        weights = task.state_dict()
    state = {name.removeprefix("model."): tensor for name, tensor in weights.items() if name.startswith("model.")}
    if all(name.startswith(("encoder.", "classifier.")) for name in state):  # a ModelWithHead
        # without its configuration nobody knows which
        saved = make_saved(load_run_config(run.folder), run) if (run.folder / ".hydra").is_dir() else None
        head = HEAD if saved is None else head_prefix(saved.head_for(AutoModelForSequenceClassification))
        state = {re.sub("^classifier.", head, name.removeprefix("encoder.")): state[name] for name in state}
    return state
