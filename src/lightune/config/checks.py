"""Check a configuration before anything is loaded."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lightune.common.errors import UserError, listed
from lightune.common.packages import check_installed
from lightune.config import safe_paths
from lightune.config.allowed_targets import check_targets
from lightune.config.arguments import named_by, schedule_arguments
from lightune.config.nested import flat
from lightune.config.older_runs import upgraded
from lightune.config.options import check_options
from lightune.config.rerun import option_of, overrides_of
from lightune.config.unread_options import check_unread

MAY_CHANGE = (
    "trainer.",
    "callbacks.",
    "logger.",
    "plan",
    "find",
    "profile",
    "resume",
    "run_dir",
    "data.num_workers",
    "data.batch_size",
    "data.eval_batch_size",
    "data.max_tokens_per_batch",
    "sweep.n_",
)
"""How the options begin that may change when a run is resumed."""

REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "limit_train_batches": (
        lambda value: value == 0,
        "nothing would be trained. To measure a model: trainer.max_epochs=0",
    ),
    "limit_val_batches": (lambda value: value == 0, "validation chooses the best checkpoint. One batch is 1"),
    "limit_test_batches": (lambda value: value == 0, "a run ends with a test. One batch is 1"),
    "val_check_interval": (lambda value: value == 0, "expected a share of an epoch, or a number of batches"),
    "num_sanity_val_steps": (
        lambda value: value != -1 and str(value).startswith("-"),
        "expected a number of batches, or -1 for all",
    ),
    "gradient_clip_val": (lambda value: str(value).startswith("-"), "expected 0 or more; 0 does not clip"),
    "overfit_batches": (bool, "each epoch draws other batches. To train on few rows: data.max_train_samples=64"),
    "use_distributed_sampler": (bool, "the DataModule distributes rows itself, each held-out row once"),
    "enable_checkpointing": (lambda value: not value, "a run is measured on its best checkpoint"),
    "barebones": (bool, "a run needs the checkpoints and figures that it turns off"),
    "callbacks": (bool, "callbacks have a group of their own: +callbacks.NAME._target_=…"),
    "logger": (bool, "loggers have a group of their own, such as logger=tensorboard"),
    "plugins": (bool, "Lightning gets a plugin that writes checkpoints safely, and no other"),
}
"""Arguments of Lightning's Trainer that a run cannot have with some values, and why."""


def check_calls(cfg: DictConfig, *, nodes: Sequence[str] | None = None) -> None:
    """Refuse a configuration that calls what nobody allowed, writes outside its folders, or holds a wrong value.

    See ``lightune.config.allowed_targets.check_targets``, ``lightune.config.safe_paths.check_names``,
    ``lightune.config.options.check_options`` and ``REFUSED``. Without ``nodes`` all are checked.
    """
    raw: Any = OmegaConf.to_container(cfg)
    names = [name for name in nodes or raw if name in raw and not OmegaConf.is_missing(cfg, name)]
    resolved = {
        name: OmegaConf.to_container(cfg[name], resolve=True) if OmegaConf.is_config(cfg[name]) else cfg[name]
        for name in names
    }
    check_targets(resolved)
    safe_paths.check_names({group: resolved.get(group) for group in ("logger", "callbacks")})
    trainer: Any = resolved.get("trainer", {})
    for name, (is_refused, reason) in REFUSED.items():
        if (value := trainer.get(name)) is not None and is_refused(value):
            raise UserError(f"trainer.{name}={str(value).lower()}: {reason}.\nLeave it out for its default.")
    check_options({name: raw[name] for name in names}, resolved)


def check_added(cfg: DictConfig) -> None:
    """Refuse options of the command line that nothing reads, see ``lightune.config.unread_options.check_unread``."""
    hydra = HydraConfig.get()
    added = [option_of(override) for override in hydra.overrides.task if override.startswith("+")]
    raw: Any = OmegaConf.to_container(cfg)
    is_group = {option: option.partition("@")[0] in hydra.runtime.choices for option in added}
    check_unread(raw, added=[option for option in added if not is_group[option]])


def check_made(cfg: DictConfig) -> None:
    """Make a Trainer, an optimizer and a schedule only to see whether they can be made, before anything is loaded.

    Raises:
        UserError: one of them refuses its options; training would have no end; or a callback measures other weights.
    """
    import torch
    from hydra.utils import get_object, instantiate
    from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging

    if cfg.tuning.get("quantize") is not None:
        check_installed("bitsandbytes", extra="qlora", needed_by="tuning=qlora")
    if cfg.optimizer._target_.startswith("bitsandbytes."):
        check_installed("bitsandbytes", extra="qlora", needed_by=cfg.optimizer._target_)

    def callbacks() -> None:
        for name, node in cfg.callbacks.items():
            made_by: Any = get_object(node._target_) if node and "_target_" in node else None
            if isinstance(made_by, type) and issubclass(made_by, StochasticWeightAveraging | WeightAveraging):
                why = "does not save and measure the weights that it averages; callbacks=ema does"
                raise ValueError(f"{name}, a {made_by.__name__} of Lightning's, {why}")

    def trainer() -> None:
        precision = None if cfg.trainer.precision == "auto" else cfg.trainer.precision
        made = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, precision=precision, _convert_="all")
        if made.max_epochs == -1 and made.max_steps == -1:
            raise ValueError("max_epochs=-1 and max_steps=-1: a schedule needs an end, so give one of them")

    def optimizer() -> Any:
        matrix, bias = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((1, 1), (1,)))
        groups = [{"params": [matrix]}, {"params": [bias], "weight_decay": 0.0}]
        return instantiate(cfg.optimizer, _convert_="all")(groups)

    def scheduler() -> Any:
        factory, optimized = instantiate(cfg.scheduler, _convert_="all"), optimizer()
        made = factory(optimized, **schedule_arguments(factory, optimized, length=10))
        if cfg.get("scheduler_monitor") is not None and not named_by(made.step, {"metrics": None}):
            raise ValueError(
                f"scheduler_monitor={cfg.scheduler_monitor} is for one that watches a figure: scheduler=plateau"
            )

    def task() -> None:
        for name, given in (("head", ("hidden_size", "num_labels")), ("criterion", ())):
            if node := cfg.task.get(name):
                options = {key: value for key, value in node.items() if not key.startswith("_")}
                inspect.signature(get_object(node._target_)).bind(**dict.fromkeys(given), **options)

    for make in (task, callbacks, trainer, optimizer, scheduler):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make()
        # whatever a library raises, only the options can be wrong
        except Exception as error:
            is_wrapped = isinstance(error, InstantiationException) and error.__cause__
            cause = error.__cause__ if is_wrapped else error
            raise UserError(
                f"{make.__name__}: {str(cause).strip().splitlines()[0][:300]}\n"
                f"Mend the options {make.__name__}.NAME, or leave them out for their defaults: python train.py --help"
            ) from error


def check_pairing(cfg: DictConfig, *, data: str | None) -> None:
    """Raise a UserError for another task's data set, unless the task reads ``any_data``, as further pretraining does."""
    if cfg.data.task not in (None, cfg.task_name) and not cfg.any_data:
        raise UserError(
            f"data={data} is for task={cfg.data.task}, not task={cfg.task_name}.\n"
            f"Leave task= out: the data set names its task. For data of your own: task={cfg.task_name} data=local data.path=…"
        )


def check_checkpoints(cfg: DictConfig) -> None:
    """Raise a UserError for several checkpoints of one name: each would overwrite the one before, better or not."""
    checkpoint = cfg.callbacks.get("checkpoint") or {}
    top_k, filename = checkpoint.get("save_top_k", 1), str(checkpoint.get("filename"))
    if top_k not in (0, 1) and "{" not in filename:
        raise UserError(
            f"callbacks.checkpoint.save_top_k={top_k} would write all to one file, {filename}.ckpt.\n"
            f"Give each a name: callbacks.checkpoint.filename='best-{{step}}'. best.ckpt is the best of them at the end."
        )


def check_resumed(cfg: DictConfig, folder: Path, *, overrides: Sequence[str]) -> None:
    """Refuse to resume a run under other settings than it was started with, but for ``MAY_CHANGE``.

    ``cfg`` and ``overrides`` are those of now, ``folder`` is the run's. The UserError names the settings.
    """
    saved: Any = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
    before = dict(flat(upgraded(saved)))
    now = dict(flat(OmegaConf.to_container(cfg)))
    overridden = {*map(option_of, overrides)} - {*map(option_of, overrides_of(folder) or [])}
    # an option that the folder does not know had its default, as it has now unless the command line sets it
    before |= {name: value for name, value in now.items() if name not in {*before, *overridden}}
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name) and not (name.startswith(MAY_CHANGE) and "averaging" not in name)
    ]
    if changed:
        raise UserError(
            f"{folder} was started with other settings: {listed(changed, limit=3)}.\n"
            f"To go on as it was started: lightune resume {folder}\n"
            f"To begin anew from its best weights: model.from_run={folder}"
        )
