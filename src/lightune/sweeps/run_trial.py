"""What becomes of a sweep's trial is written in its folder, by the process that runs it."""

import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from lightune.common import processes
from lightune.common.errors import NotFiniteError, PrunedError, UserError
from lightune.config import credentials
from lightune.sweeps.trial import Trial, is_trial, read_trial

log = logging.getLogger(__name__)

STOPS = (130, 138, 143)
"""Exit codes of a run that was told to stop, and goes on when the sweep is started again."""


def run_as_trial(run: Callable[[DictConfig], float], cfg: DictConfig) -> float:
    """Run one experiment and, where it is a sweep's trial, keep its account.

    In a sweep a failure is told and written down, and the sweep goes on. A trial that another process runs, or that has
    ended, is left alone. Where there are several processes for one trial, the first of them writes.

    Args:
        run: gives the monitored metric's value. Environment and signal handlers are left as they were before it.
        cfg: its configuration.

    Returns:
        The value; NaN where there is none.
    """
    folder = Path(cfg.run_dir)
    if not is_trial(folder):
        with processes.restored_environment():
            return run(cfg)
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if processes.is_rank():
        return _run(run, cfg, folder, goes_on=False)
    with read_trial(folder).held() as is_ours:
        if is_sweep and (not is_ours or read_trial(folder).ended):
            return math.nan  # the sweep reads what is in the folder
        if not is_ours:
            raise UserError(f"{folder} is being run by another process. Wait for it, or end it first.")
        if is_sweep and _had_finished(read_trial(folder)):
            return math.nan
        return _run(run, cfg, folder, goes_on=is_sweep)


def _had_finished(trial: Trial) -> bool:
    """Say whether a trial was killed when all was done but its account, and write that."""
    file = trial.folder / "metrics.json"
    if trial.state != "running" or not file.is_file():
        return False
    figures: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    trial.state, trial.value = "finished", figures["monitored"]
    trial.metric = next(name for name in figures if name.startswith("val/") and figures[name] == trial.value)
    trial.write()
    return True


def _run(run: Callable[[DictConfig], float], cfg: DictConfig, folder: Path, *, goes_on: bool) -> float:
    is_first = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
    trial = read_trial(folder)
    trial.state, trial.message = "running", ""

    def write() -> None:
        if is_first:
            trial.metric, trial.mode = cfg.monitor.metric, cfg.monitor.mode
            trial.write()

    write()
    try:
        with processes.restored_environment():
            trial.value = run(cfg)
        if _told_by_first(trial):
            return trial.value
        trial.state = "finished" if math.isfinite(trial.value) else "nan"
        trial.message = "" if math.isfinite(trial.value) else f"{cfg.monitor.metric} is {trial.value}"
    except PrunedError as pruned:
        trial.state, trial.value = "pruned", pruned.value
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in STOPS:
            raise
        said = _message(error)
        if _told_by_first(trial):
            said = read_trial(folder).message
        else:
            trial.state, trial.message = _account(error)
            write()
        ended = read_trial(folder)
        if ended.state == "pruned":  # its processes have ended well, with no figures for this one to read
            return math.nan
        if not goes_on:
            raise
        log.error(f"trial {trial.number}: {ended.state}: {said}", exc_info=_trace(error) and error)
        return math.nan
    write()
    if trial.state == "pruned":
        log.info(f"trial {trial.number}: pruned at {trial.metric}={trial.value:.4f}")
    return trial.value


def _told_by_first(trial: Trial) -> bool:
    """Say whether the first of the processes that this one has started has written how the trial ended."""
    return read_trial(trial.folder).ended


def _account(error: BaseException) -> tuple[str, str]:
    cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
    lines = _message(cause).splitlines()
    kind = "" if isinstance(cause, UserError | SystemExit) else f"{type(cause).__name__}: "
    state = "nan" if isinstance(cause, NotFiniteError) else "failed"
    return state, kind + (lines[0] if lines else "")[:300]


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended with exit code {error.code}"
    cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
    return credentials.redact(str(cause).strip())


def _trace(error: BaseException) -> bool:
    """Say whether this is a bug, whose trace is wanted."""
    return not isinstance(error, SystemExit | UserError | InstantiationException)
