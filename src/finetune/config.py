"""What the entry points share of Hydra: errors that help, checks before anything heavy, a run's configuration."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from finetune.errors import UserError, did_you_mean, listed, nearest
from finetune.targets import check_targets

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing: friendly_errors prints


@contextmanager
def friendly_errors(conf: Path | None = None) -> Iterator[None]:
    """Print a mistake of the person at the keyboard in a few lines and exit with 1; let bugs pass with their trace.

    Args:
        conf: folder of the configuration groups, for the nearest valid names.
    """
    try:
        yield
    except UserError as error:
        message = str(error)
    except InstantiationException as error:
        if not isinstance(error.__cause__, UserError):
            raise
        message = str(error.__cause__)
    except (HydraException, OmegaConfBaseException) as error:
        message = _explain(error, conf)
    except ValueError as error:
        if not str(error).startswith("Config group override must be"):  # model=null, data=1
            raise
        message = f"A group is chosen by one of its names: {error}.\nLeave it out for the default. All: python train.py --help"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def check_calls(cfg: DictConfig) -> None:
    """Refuse a configuration that would call what nobody allowed; see :func:`finetune.targets.check_targets`."""
    check_targets(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def check_pairing(cfg: DictConfig, *, data: str) -> None:
    """Refuse a data set under a task that it is not for, before anything is loaded.

    Further pretraining reads the texts of any.

    Raises:
        UserError: they do not fit.
    """
    if cfg.data.task not in (None, cfg.task_name) and cfg.task_name != "masked_lm":
        raise UserError(
            f"data={data} is for task={cfg.data.task}, not task={cfg.task_name}.\n"
            f"Leave task= out: the data set names its task. For data of your own: task={cfg.task_name} data=local data.path=…"
        )


def load_run_config(folder: Path) -> DictConfig:
    """Read the configuration of a run from its folder, wherever that folder is now.

    Raises:
        UserError: this is not a run folder, or its configuration would call what nobody allowed.
    """
    saved, hydra = folder / ".hydra" / "config.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise UserError(
            f"{folder} is not the folder of a run: there is no {saved}.\n"
            "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
        )
    cfg = OmegaConf.load(saved)
    assert isinstance(cfg, DictConfig)
    cfg.run_dir = str(folder)
    check_calls(cfg)
    started_in = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    cfg.data.path = _from(started_in, OmegaConf.to_container(cfg.data, resolve=True)["path"])  # type: ignore[call-overload,index]
    return cfg


def _from(folder: Path, path: Any) -> Any:
    """Make relative local paths absolute, as seen from where the run was started."""
    if isinstance(path, dict):
        return {split: _from(folder, file) for split, file in path.items()}
    return str(folder / path) if path is not None and (folder / path).exists() else path


def _explain(error: Exception, conf: Path | None) -> str:
    text = str(error).strip()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"There is no {group}={name}. {nearest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return (
            f"Cannot read {error.override!r}: {text.splitlines()[0]}.\n"
            "Text with commas, brackets, braces or equals signs needs quotes of its own: 'data.path=\"a, b.csv\"'"
        )
    override = re.match(r"Could not override '([^']+)'", text)
    if override and conf is not None:
        key = override.group(1)
        names = _known_names(conf)
        beside = [name for name in names if name.rpartition(".")[0] == key.rpartition(".")[0]]
        return (
            f"There is no option or group {key!r}. {did_you_mean(key, names)}\n"
            f"Beside it there are: {listed(beside or names, limit=30)}. All: python train.py --help"
        )
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is not set.\nSet it on the command line: {missing.group(1)}=VALUE"
    return "\n".join(line for line in text.splitlines()[:4] if line.strip())


def _known_names(conf: Path) -> list[str]:
    """List every group and every option of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("train")
    groups = [folder.name for folder in sorted(conf.iterdir()) if folder.is_dir()]
    return groups + list(_flat(OmegaConf.to_container(cfg)))


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        elif not key.startswith("_"):
            yield name
