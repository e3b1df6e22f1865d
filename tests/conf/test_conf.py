"""Every option of every group composes, and its nodes fit the signatures that they name."""

import inspect
from collections.abc import Mapping
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from lightune.config import check_composed
from lightune.config.check_composed import CheckedLoader, hydra_config
from lightune.data import DataModule
from lightune.models import precision
from lightune.tasks import Seq2Seq
from lightune.training.build_run import make_trainer
from lightune.training.callbacks import ProgressBar
from lightune.tuning.recipe import Recipe

pytestmark = pytest.mark.slow

CONF = ROOT / "conf"
OPTIONS = [
    f"{file.parent.name}={file.stem}" for file in sorted(CONF.glob("*/*.yaml")) if file.parent.name != "experiment"
]
EXPERIMENTS = [f"experiment={file.stem}" for file in sorted((CONF / "experiment").glob("*.yaml"))]
LOGGERS = {"tensorboard": ["tensorboard"], "wandb": ["wandb"], "mlflow": ["mlflow", "sqlalchemy"]}


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["run_dir=somewhere", *overrides], return_hydra_config=True)


def targets(node: object):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)


@pytest.mark.parametrize("option", [*OPTIONS, *EXPERIMENTS])
def test_every_option_composes_and_names_only_known_arguments(option: str):
    cfg = composed(option)
    plain = OmegaConf.to_container(cfg, resolve=False)
    plain.pop("hydra")
    for node in targets(plain):
        if node["_target_"].startswith(("lightning.pytorch.loggers", "bitsandbytes.")):
            continue  # extras that may not be installed
        signature = inspect.signature(get_object(node["_target_"]))
        given = {key for key in node if not key.startswith("_")} - {"from_run"}  # build makes it weights
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        assert takes_any or given <= set(signature.parameters), node["_target_"]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.startswith("data=") and o != "data=local"])
def test_a_data_set_names_its_task_and_where_it_lies(option: str):
    cfg = composed(option)
    assert cfg.data.task == cfg.hydra.runtime.choices.task
    assert isinstance(cfg.data.path, str)


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.startswith("model=")])
def test_a_model_says_its_name_and_learning_rate(option: str):
    cfg = composed(option)
    assert cfg.model.pretrained_model_name_or_path
    assert 1e-6 < cfg.optimizer.lr < 1e-3


@pytest.mark.parametrize("option", ["cpu", "auto", "debug", "ddp"])
def test_trainers_for_this_machine_are_made(option: str, tmp_path: Path):
    cfg = composed(f"trainer={option}", "trainer.accelerator=cpu", "trainer.devices=1", f"run_dir={tmp_path}")
    chosen = precision.resolve(cfg.trainer.precision, accelerator="cpu")
    trainer = instantiate(cfg.trainer, _convert_="all", logger=False, precision=chosen)
    assert trainer.max_epochs >= 1


@pytest.mark.parametrize("name", [file.stem for file in sorted((CONF / "hydra" / "launcher").glob("*.yaml"))])
def test_launchers_are_made_and_pass_the_guard(name: str):
    cfg = composed(f"hydra/launcher={name}")
    check_composed(cfg)
    context = HydraContext(config_loader=CheckedLoader(ConfigSearchPathImpl()), callbacks=Callbacks())
    launcher = Plugins.instance().instantiate_launcher(context, lambda _: 0.0, cfg)
    assert type(launcher).__module__.startswith("hydra_plugins.lightune_launchers.")


def test_fsdp_keeps_checkpoints_readable():
    strategy = instantiate(composed("trainer=fsdp").trainer.strategy, _convert_="all")
    assert not strategy._save_distributed_checkpoint


@pytest.mark.parametrize("name", LOGGERS)
def test_loggers_are_made(name: str, tmp_path: Path):
    for package in LOGGERS[name]:
        pytest.importorskip(package)
    overrides = {
        "wandb": ["logger.wandb.offline=true"],
        "mlflow": [f"logger.mlflow.tracking_uri=sqlite:///{tmp_path}/m.db"],
    }
    cfg = composed(f"logger={name}", f"run_dir={tmp_path}", *overrides.get(name, []))
    assert set(instantiate(cfg.logger, _convert_="all")) == {name}


@pytest.mark.parametrize("name", ["optuna", "random"])
def test_searches_are_made(name: str):
    search = instantiate(composed(f"sweep={name}", "sweep.n_trials=3").sweep)
    assert (search.n_trials, search.storage) == (3, None)
    assert search.sampler == ("tpe" if name == "optuna" else "random")


def test_the_best_checkpoint_is_chosen_on_validation():
    cfg = composed("monitor.metric=val/f1", "monitor.mode=max")
    assert cfg.callbacks.checkpoint.monitor == "val/f1"
    assert cfg.callbacks.early_stopping.monitor == "val/f1"


def defaults(target: Any) -> dict[str, Any]:
    """The defaults in a signature, those that a dataclass makes anew too."""
    made = {field.name: field.default_factory for field in getattr(target, "__dataclass_fields__", {}).values()}
    found = {name: p.default for name, p in inspect.signature(target).parameters.items() if p.default is not p.empty}
    return {name: default if made.get(name, MISSING) is MISSING else made[name]() for name, default in found.items()}


def drifted(target: Any, options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The options whose values here are not the defaults in the signature."""
    known = defaults(target)
    return {name: (options[name], known[name]) for name in known if name in options and options[name] != known[name]}


@pytest.mark.parametrize("name", [file.stem for file in sorted((CONF / "task").glob("*.yaml"))])
def test_defaults_in_signatures_are_those_of_the_configuration(name: str):
    cfg: Any = composed("data=local", f"task={name}", "model=bert")
    with hydra_config(cfg):
        cfg = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), resolve=True)
    of_task = {"batch_size"} if name not in ("text_classification", "translation", "masked_lm") else set()
    data = cfg["data"] | {"seed": cfg["seed"]}
    assert not drifted(DataModule, {option: data[option] for option in data.keys() - of_task})
    assert not drifted(get_object(cfg["preprocessor"]["_target_"]), data)
    for node in targets(cfg):
        target = get_object(node["_target_"])
        if node["_target_"].startswith("lightune.") and target is not ProgressBar:  # its constructor is Lightning's
            varies = {"pipeline_tag", "target_lang"} if target is Seq2Seq else set()  # it serves two tasks
            assert drifted(target, node).keys() <= varies, target


def test_a_recipe_and_a_trainer_have_the_defaults_of_the_configuration():
    cfg: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(composed("model=bert"), ["optimizer", "scheduler", "tuning"])
    )
    recipe = Recipe()
    own = defaults(recipe.optimizer)
    for name, value in cfg["optimizer"].items():
        assert name.startswith("_") or own[name] == (tuple(value) if isinstance(value, list) else value), name
    assert recipe.optimizer.func is get_object(cfg["optimizer"]["_target_"])  # type: ignore[attr-defined]
    assert recipe.scheduler is get_object(cfg["scheduler"]["_target_"])
    assert recipe.tuning is get_object(cfg["tuning"]["_target_"])
    assert (recipe.layerwise_lr_decay, recipe.teacher) == (None, None)
    trainer = make_trainer(logger=False, enable_checkpointing=False, max_epochs=7)
    assert (trainer.gradient_clip_val, trainer.log_every_n_steps, trainer.max_epochs) == (1.0, 10, 7)
