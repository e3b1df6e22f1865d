"""What the entry points share of Hydra: errors that help, checks before anything heavy, a run's configuration."""

import copy
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from finetune import credentials, names
from finetune.errors import UserError, did_you_mean, listed, nearest
from finetune.options import check_options
from finetune.targets import check_hydra_targets, check_targets

ONE_OF = ("data", "model", "task", "trainer", "optimizer", "scheduler", "tuning")
"""Groups of which a run needs one option."""

TRUSTED = "FINETUNE_TRUST_REMOTE_CODE"
"""Names the commit whose code a run's model may run in ``finetune`` commands."""

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing: friendly_errors prints


def run_folder(parent: str, now: str, resume: str | None) -> str:
    """Choose a run's folder: ``PARENT/NOW``, that of the run to go on with, or one that a SLURM job finds again.

    The processes of one run, on any number of machines, get the same: the first tells the others.

    Args:
        parent: folder of the runs on this data with this model.
        now: the time.
        resume: a run's folder; ``last``: the newest that holds a ``last.ckpt``; None: a new run.
    """
    if resume == "last":
        found = sorted(Path(parent).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        return str(found[-1].parent.parent if found else Path(parent) / now)
    if resume is not None:
        return str(Path(str(resume)).expanduser())
    if job := os.environ.get("SLURM_JOB_ID"):
        command = sha256("\0".join(sys.argv[1:]).encode()).hexdigest()[:8]  # a job may run several
        return str(Path(parent) / f"slurm-{job}-{command}")
    folder = str(Path(parent) / now)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        if os.environ["RANK"] == "0":
            store.set("finetune/run_folder", folder)
        folder = store.get("finetune/run_folder").decode()
    return folder


def hydra_folder(run_dir: str) -> str:
    """Choose where in a run's folder Hydra writes the configuration: not over that of a run which has checkpoints."""
    started = any(Path(run_dir, "checkpoints").glob("*.ckpt"))
    return ".hydra/again" if started else ".hydra"


def given(folder: Path) -> list[str]:
    """Return what a script must be given to run this job again, in this folder, its configuration left as it is."""
    hydra = HydraConfig.get()
    conf = next(source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return [
        *("--config-path", conf, "--config-name", str(hydra.job.config_name)),
        *hydra.overrides.task,
        *_in_folder(folder),
        "hydra.output_subdir=null",
    ]


def _in_folder(folder: Path) -> list[str]:
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.run.dir='{quoted}'"]


def started_with(folder: Path) -> tuple[list[str], Path]:
    """Return what ``train.py`` was given to start a run, with the run's folder to resume in, and where that was.

    Raises:
        UserError: this is not a run folder, or it was not written by ``train.py``: Hydra's own settings run code.
    """
    saved, hydra = folder / ".hydra" / "overrides.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise _not_a_run(folder, saved)
    overrides = [str(one) for one in OmegaConf.to_container(OmegaConf.load(saved)) or []]
    for one in overrides:
        if one.startswith("-") or one.lstrip("+~").startswith("hydra"):
            raise UserError(f"{saved}: {one!r} is not a setting of a run. Nothing was run.")
    cwd = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    resume = [one.replace("hydra.run.dir", "resume") for one in _in_folder(folder)]
    return [*(one for one in overrides if not one.startswith("resume=")), *_in_folder(folder), *resume], cwd


OmegaConf.register_new_resolver("run_folder", run_folder)
OmegaConf.register_new_resolver("hydra_folder", hydra_folder)


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
        given = [one for one in sys.argv[1:] if re.search(r"=(?:.*,)?null(?:,|$)", one)]
        message = (
            f"A group is chosen by one of its names{f', in {listed(given)} too' if given else ''}: {error}.\n"
            "Leave it out for the default. All: python train.py --help"
        )
    else:
        return
    if int(os.environ.get("LOCAL_RANK", "0")):
        time.sleep(5)  # the first process most likely has the same to say, and its end ends this one
    print(f"error: {credentials.redact(message)}", file=sys.stderr)
    sys.exit(1)


@contextmanager
def guarded_command_line() -> Iterator[None]:
    """Check each configuration that Hydra composes before Hydra acts on it.

    Hydra makes folders, writes the configuration there, sets up logging and instantiates its own callbacks, launcher
    and sweeper before the decorated function is called, for which it has no hook: what composes is wrapped.
    Secrets among the command line's overrides go to the environment.

    Raises:
        UserError: what is refused, see :func:`check_composed`; or a pickle of a former run is to be run again.
    """
    sys.argv[1:] = credentials.hide(sys.argv[1:])
    if any(argument.startswith("--experimental-r") for argument in sys.argv[1:]):
        raise UserError(
            "--experimental-rerun is refused: it reads a pickle, which may run anything.\n"
            "Name the options of that run again; they are in its .hydra/overrides.yaml."
        )
    load_configuration = ConfigLoaderImpl.load_configuration

    def checked(loader: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        cfg = load_configuration(loader, *args, **kwargs)
        check_composed(cfg)
        return cfg

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign,assignment]
    try:
        yield
    except (OSError, ValueError) as error:
        cause = (
            error.__cause__ if isinstance(error, ValueError) else error
        )  # a log file that cannot be opened
        if not isinstance(cause, OSError) or cause.errno is None or not _raised_by_hydra(error):
            raise  # a group's option that is not there is an OSError too
        raise UserError(
            f"Cannot write the run's folder: {cause.filename or 'its files'}: {cause.strerror}.\n"
            "Name a folder that can be written: hydra.run.dir=DIR, or of a sweep hydra.sweep.dir=DIR"
        ) from error
    finally:
        ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


def _raised_by_hydra(error: BaseException) -> bool:
    """Say whether Hydra itself failed, not the job that it has started."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names]
    return bool(ours) and ours[-1].startswith("hydra.")


def check_composed(cfg: DictConfig) -> None:
    """Refuse a configuration with Hydra's own node that Hydra must not act on.

    Raises:
        UserError: Hydra would call what nobody allowed, or write a secret, or write outside the folders named.
    """
    plain: Any = OmegaConf.to_container(cfg)
    check_hydra_targets(plain["hydra"])
    credentials.check_credentials(plain)
    choices = plain["hydra"]["runtime"]["choices"]
    names.check_choices(choices)
    for group in (*ONE_OF, "callbacks", "logger"):
        if group not in (choices if group in ONE_OF else plain):
            raise UserError(
                f"{group}: a run needs one option of this group, and it was taken out or given several.\n"
                f"Leave it out for the default, or choose one: {group}=NAME. All: python train.py --help"
            )
    probe = copy.deepcopy(cfg)
    with open_dict(probe):
        probe.hydra.job.num, probe.hydra.job.id = 0, "0"  # these are known only when a job starts
        probe.hydra.runtime.output_dir = "."
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(probe)
    try:
        names.check_inside(
            "hydra.sweep.subdir", str(probe.hydra.sweep.subdir), folder=str(probe.hydra.sweep.dir)
        )
        for option in ("output_subdir", "job.name"):
            name = OmegaConf.select(probe.hydra, option)
            if name is not None:
                names.check_inside(f"hydra.{option}", str(name), folder="")
    finally:
        HydraConfig.instance().cfg = before


def check_calls(cfg: DictConfig) -> None:
    """Refuse a configuration that would call what nobody allowed, write outside its folders, or give what cannot be.

    See :func:`finetune.targets.check_targets`, :func:`finetune.names.check_names` and
    :func:`finetune.options.check_options`.
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    check_targets(plain)
    names.check_names({group: plain.get(group) for group in ("logger", "callbacks")})
    raw: Any = OmegaConf.to_container(cfg)
    check_options(raw, plain)


def check_made(cfg: DictConfig) -> None:
    """Make a Trainer, an optimizer and a schedule, to be thrown away: what they refuse is told before anything is loaded.

    Raises:
        UserError: one of them cannot be made of its options; or training would have no end.
    """
    import torch
    from hydra.utils import instantiate

    def trainer() -> None:
        precision = None if cfg.trainer.precision == "auto" else cfg.trainer.precision
        made = instantiate(
            cfg.trainer, logger=False, enable_checkpointing=False, precision=precision, _convert_="all"
        )
        if made.val_check_interval == 0:
            raise ValueError("val_check_interval=0: expected a share of an epoch, or a number of batches")
        if made.max_epochs == -1 and made.max_steps == -1:
            raise ValueError("max_epochs=-1 and max_steps=-1: a schedule needs an end, so give one of them")

    def optimizer() -> Any:
        return instantiate(cfg.optimizer, _convert_="all")([torch.nn.Parameter(torch.zeros(1, 1))])

    def scheduler() -> Any:
        return instantiate(cfg.scheduler, _convert_="all")(optimizer(), num_training_steps=10)

    for make in (trainer, optimizer, scheduler):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make()
        except Exception as error:  # whatever a library raises: nothing but the options can be wrong
            cause = (
                error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
            )
            raise UserError(
                f"{make.__name__}: {str(cause).strip().splitlines()[0][:300]}\n"
                f"Mend the options {make.__name__}.NAME, or leave them out for their defaults: python train.py --help"
            ) from error


def check_pairing(cfg: DictConfig, *, data: str | None) -> None:
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


def check_checkpoints(cfg: DictConfig) -> None:
    """Refuse to keep several checkpoints under one name: each would be written over the one before, better or not.

    Raises:
        UserError: says how to name them.
    """
    checkpoint = cfg.callbacks.get("checkpoint") or {}
    top_k, filename = checkpoint.get("save_top_k", 1), str(checkpoint.get("filename"))
    if top_k not in (0, 1) and "{" not in filename:
        raise UserError(
            f"callbacks.checkpoint.save_top_k={top_k} would write all to one file, {filename}.ckpt.\n"
            f"Give each a name: callbacks.checkpoint.filename='best-{{step}}'. best.ckpt is the best of them at the end."
        )


def check_resumed(cfg: DictConfig, folder: Path) -> None:
    """Refuse to go on with a run under settings that it was not started with.

    How long, on what machine and with what log may change.

    Raises:
        UserError: names the settings.
    """
    started = OmegaConf.load(folder / ".hydra" / "config.yaml")
    before = dict(_flat(OmegaConf.to_container(started)))
    now = dict(_flat(OmegaConf.to_container(cfg)))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name) and not name.startswith(MAY_CHANGE)
    ]
    if changed:
        raise UserError(
            f"{folder} was started with other settings: {listed(changed, limit=3)}.\n"
            f"To go on as it was started: finetune resume {folder}\n"
            f"To begin anew from its best weights: model.from_run={folder}"
        )


def load_run_config(folder: Path) -> DictConfig:
    """Read the configuration of a run from its folder, wherever that folder is now.

    Raises:
        UserError: this is not a run folder, or its configuration would call what nobody allowed, or the code of a
            model that the person at the keyboard has not named.
    """
    saved, hydra = folder / ".hydra" / "config.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise _not_a_run(folder, saved)
    cfg = OmegaConf.load(saved)
    assert isinstance(cfg, DictConfig)
    cfg.run_dir = str(folder)
    check_calls(cfg)
    if cfg.model.get("trust_remote_code") and os.environ.get(TRUSTED) != cfg.model.revision:
        raise UserError(
            f"{folder} runs Python code that came with its model, at commit {cfg.model.revision}; a run's folder cannot vouch for it.\n"
            f"Nothing was run. If you know that code: {TRUSTED}={cfg.model.revision} finetune …"
        )
    started_in = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    cfg.data.path = _from(started_in, OmegaConf.to_container(cfg.data, resolve=True)["path"])  # type: ignore[call-overload,index]
    return cfg


def _not_a_run(folder: Path, missing: Path) -> UserError:
    return UserError(
        f"{folder} is not the folder of a run: there is no {missing}.\n"
        "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000, as printed at the end of training."
    )


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
    gone = re.search(
        r"(?:Interpolation key '([^']+)' not found|Key '[^']+' is not in struct\n\s+full_key: (\S+))", text
    )
    if gone:
        return (
            f"{gone.group(1) or gone.group(2)} is not in the configuration, and a run needs it.\n"
            "Leave out what takes it away, such as ~NAME. All options: python train.py --help"
        )
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is not set.\nSet it on the command line: {missing.group(1)}=VALUE"
    return "\n".join(line for line in text.splitlines()[:4] if line.strip())


MAY_CHANGE = ("trainer.", "callbacks.", "logger.", "profile", "resume", "run_dir", "data.num_workers")


def _known_names(conf: Path) -> list[str]:
    """List every group and every option of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("train")
    groups = [folder.name for folder in sorted(conf.iterdir()) if folder.is_dir()]
    return groups + [
        name for name, _ in _flat(OmegaConf.to_container(cfg)) if not name.rpartition(".")[2].startswith("_")
    ]


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value
