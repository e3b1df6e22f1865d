"""Run a job, and record the result of a trial in its folder."""

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

# Exit codes of a run that was told to stop; it resumes when its sweep is started again.
STOP_CODES = (130, 138, 143)


def run_as_trial(run: Callable[[DictConfig], float], cfg: DictConfig) -> float:
    """Run one experiment and return the value of its monitored metric; where it is a trial of a sweep, record it too.

    In a sweep a failure is logged and recorded, the value is NaN, and the sweep continues. A trial that has ended, or
    that another process runs, is left alone. Of several processes of one trial, rank 0 writes. Environment variables
    and signal handlers are restored after ``run``.
    """
    folder = Path(cfg.run_dir)
    if not is_trial(folder):
        with processes.restored_environment():
            return run(cfg)
    if any((folder / "checkpoints").glob("*.ckpt")):
        # it was stopped
        cfg.resume = str(folder)
    if processes.is_rank():
        return _run(run, cfg, folder, in_sweep=False)
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    with read_trial(folder).lock() as is_ours:
        trial = read_trial(folder)
        if not is_ours and not in_sweep:
            raise UserError(f"{folder} is being run by another process. Wait for it, or end it first.")
        if in_sweep and (not is_ours or trial.has_ended or _completed(trial)):
            # the sweep reads the result from the folder
            return math.nan
        return _run(run, cfg, folder, in_sweep=in_sweep)


def _completed(trial: Trial) -> bool:
    """Complete the record of a trial that was killed just before it was written; return whether it was such a trial."""
    file = trial.folder / "metrics.json"
    if trial.state != "running" or not file.is_file():
        return False
    figures: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    trial.state, trial.value = "finished", figures["monitored"]
    trial.metric = next(name for name in figures if name.startswith("val/") and figures[name] == trial.value)
    trial.write()
    return True


def _run(run: Callable[[DictConfig], float], cfg: DictConfig, folder: Path, *, in_sweep: bool) -> float:
    is_first = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
    trial = read_trial(folder)

    def record(state: str, message: str = "") -> None:
        trial.state, trial.message = state, message
        trial.metric, trial.mode = cfg.monitor.metric, cfg.monitor.mode
        if is_first:
            trial.write()

    record("running")
    try:
        with processes.restored_environment():
            trial.value = run(cfg)
    except PrunedError as pruned:
        trial.value = pruned.value
        record("pruned")
        log.info(f"trial {trial.number}: pruned at {trial.metric}={trial.value:.4f}")
        return trial.value
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in STOP_CODES:
            raise
        message = _message(error)
        # where this process has started the ranks of the trial, rank 0 has recorded the result
        if (recorded := read_trial(folder)).has_ended:
            message = recorded.message
        else:
            record(*_state_and_message(error))
        recorded = read_trial(folder)
        if recorded.state == "pruned":
            # its ranks have exited with code 0, without the metrics that the run then reads
            return math.nan
        if not in_sweep:
            raise
        is_bug = not isinstance(error, SystemExit | UserError | InstantiationException)
        log.error(f"trial {trial.number}: {recorded.state}: {message}", exc_info=error if is_bug else None)
        return math.nan
    if not read_trial(folder).has_ended:
        is_finite = math.isfinite(trial.value)
        record("finished" if is_finite else "nan", "" if is_finite else f"{cfg.monitor.metric} is {trial.value}")
    return trial.value


def _state_and_message(error: BaseException) -> tuple[str, str]:
    cause = _cause(error)
    lines = _message(cause).splitlines()
    kind = "" if isinstance(cause, UserError | SystemExit) else f"{type(cause).__name__}: "
    state = "nan" if isinstance(cause, NotFiniteError) else "failed"
    return state, kind + (lines[0] if lines else "")[:300]


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended with exit code {error.code}"
    return credentials.redact(str(_cause(error)).strip())


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
