"""Hydra's sweeper for ``lightune.sweeps``; Hydra looks for sweepers in ``hydra_plugins`` only."""

import shlex
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightune.common.errors import UserError, listed
from lightune.common.files import atomic_file
from lightune.config.allowed_targets import check_targets
from lightune.config.check_composed import hydra_config
from lightune.config.hydra_internals import error_of
from lightune.config.rerun import quoted
from lightune.sweeps.leaderboard import SPLIT_OPTIONS, read_leaderboard, write_out_of_fold
from lightune.sweeps.trial import FAILED_STATES, Trial, lock_sweep, read_trial, read_trials


class TrialSweeper(Sweeper):
    """Run every combination of values, or the trials that a search proposes; continue a sweep that was stopped.

    Each trial's folder stores its state, so the same command with the same ``hydra.sweep.dir`` runs only trials that have
    not ended; one that was killed resumes from its last checkpoint. Failed trials are listed at the end.

    Args:
        max_batch_size: jobs that the launcher gets at a time; None: all.
        params: values by option, as if they stood on the command line.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(self, *, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; raise a UserError where trials failed, or the folder holds another sweep."""
        params = [f"{name}={value}" for name, value in self.params.items()]
        parser = OverridesParser.create(self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*params, *arguments])
        sweep_dir = Path(str(self.config.hydra.sweep.dir))
        if self.config.get("sweep") is None:
            self._grid(overrides, sweep_dir)
        else:
            self._search(overrides, sweep_dir)
        _print_result(sweep_dir)

    def _grid(self, overrides: list[Override], sweep_dir: Path) -> None:
        from lightune.sweeps.grid import plan_grid

        jobs = [list(job) for job in product(*_grid_values(overrides).values())]
        swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
        self.validate_batch_is_legal(jobs)
        with lock_sweep(sweep_dir):
            trials = plan_grid(jobs, sweep_dir=sweep_dir, swept=swept, subdir=self._subdir)
            self._save_command(sweep_dir)
        self._launch([trial for trial in trials if not trial.has_ended and not trial.is_locked()], sweep_dir)

    def _search(self, overrides: list[Override], sweep_dir: Path) -> None:
        from lightune.sweeps.study import Study

        varied = [override for override in overrides if override.is_sweep_override()]
        space = {one.get_key_element(): _search_values(one, self.config) for one in varied}
        if not space:
            raise UserError(
                "sweep=optuna has nothing to vary. Name values: 'optimizer.lr=tag(log,interval(1e-5,1e-3))',\n"
                "data.batch_size=16,32 or 'trainer.max_epochs=range(1,4)'"
            )
        for option in SPLIT_OPTIONS:
            if option in space:
                raise UserError(
                    f"{option}: a search would choose the rows that are easiest to predict. Give it one value, and compare\n"
                    "the best settings on several in a plain sweep: -m data.num_folds=5 data.fold=0,1,2,3,4"
                )
        fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self.validate_batch_is_legal(_examples(space, fixed))
        search, mode = instantiate(self.config.sweep), _mode(self.config)
        study = Study(search=search, space=space, fixed=fixed, sweep_dir=sweep_dir, mode=mode, subdir=self._subdir)
        while True:
            with lock_sweep(sweep_dir):
                trials = study.next_trials()
                self._save_command(sweep_dir)
            if not trials:
                return
            self._launch(trials, sweep_dir)
            with lock_sweep(sweep_dir):
                for trial in trials:
                    study.tell(read_trial(trial.folder))

    def _subdir(self, number: int, overrides: list[str]) -> str:
        """Return the name of a trial's folder, from ``hydra.sweep.subdir``."""
        unresolved: Any = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        if unresolved["subdir"] == "${hydra:job.num}":
            return str(number)
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        cfg.hydra.job.num, cfg.hydra.job.id = number, str(number)
        with hydra_config(cfg):
            return str(cfg.hydra.sweep.subdir)

    def _launch(self, trials: Sequence[Trial], sweep_dir: Path) -> None:
        size = self.max_batch_size or max(1, len(trials))
        for first in range(0, len(trials), size):
            batch = trials[first : first + size]
            subdirs = [quoted(trial.folder.relative_to(sweep_dir)) for trial in batch]
            jobs = [[*one.overrides, f"hydra.sweep.subdir={name}"] for one, name in zip(batch, subdirs, strict=True)]
            results = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
            for trial, result in zip(batch, results, strict=True):
                if result.status == JobStatus.FAILED and not read_trial(trial.folder).has_ended:
                    trial.state, trial.message = "failed", str(error_of(result)).strip().partition("\n")[0]
                    trial.write()

    def _save_command(self, sweep_dir: Path) -> None:
        """Save the configuration, which ``lightune resume`` reads."""
        with atomic_file(sweep_dir / "multirun.yaml") as file:
            OmegaConf.save(self.config, file)


def _grid_values(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return each option's overrides in turn; for an option that occurs twice, those of the last."""
    values = {}
    for override in overrides:
        option = override.get_key_element()
        if override.is_interval_sweep():
            raise UserError(
                f"{override.input_line}: an interval has infinitely many values.\n"
                f"Name some, {option}=A,B, or let a search draw them: sweep=random, sweep=optuna"
            )
        values[option] = [str(override.input_line)]
        if override.is_sweep_override():
            values[option] = [f"{option}={value}" for value in override.sweep_string_iterator()]
    return values


def _search_values(override: Override, cfg: DictConfig) -> Any:
    """Return the values that a search may draw for an option; its default tells whether it is an integer."""
    from lightune.sweeps.search import Choice, Interval

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None
        is_whole = type(OmegaConf.select(cfg, override.key_or_group)) is int
        if is_whole and float(low).is_integer() and float(high).is_integer():
            low, high = int(low), int(high)
        return Interval(low=low, high=high, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        return Interval(low=min(numbers), high=max(numbers), step=abs(value.step))
    return Choice(values=tuple(override.sweep_string_iterator()))


def _examples(space: dict[str, Any], fixed: list[str]) -> list[list[str]]:
    """Return jobs that contain each choice, and the lower end of each interval, to check that they can be composed."""
    values = {option: getattr(one, "values", None) or (str(one.low),) for option, one in space.items()}
    first = {option: choices[0] for option, choices in values.items()}
    return [
        [*fixed, *(f"{key}={value}" for key, value in {**first, option: choice}.items())]
        for option, choices in values.items()
        for choice in choices
    ]


def _mode(cfg: DictConfig) -> str:
    """Return the mode of the monitored metric, ``min`` or ``max``, as far as it is known before the data are read."""
    if cfg.monitor.mode is not None:
        return str(cfg.monitor.mode)
    if cfg.task.get("monitor") is not None:
        return str(cfg.task.monitor[1])

    from lightune.runs.load_run import task_class  # imports torch

    check_targets({"task": {"_target_": cfg.task._target_}})
    return task_class(cfg).monitor[1]


def _print_result(sweep_dir: Path) -> None:
    trials = read_trials(sweep_dir)
    if any("data.fold" in trial.swept and (trial.folder / "metrics.json").is_file() for trial in trials):
        write_out_of_fold(read_leaderboard(sweep_dir))
    failed = [trial for trial in trials if trial.state in FAILED_STATES]
    told = (f"{one.number} ({one.state}: {shorten(one.message, 200, placeholder='…')})" for one in failed)
    leaderboard = f"lightune leaderboard {shlex.quote(str(sweep_dir))}"
    if failed:
        raise UserError(
            f"{len(failed)} of {len(trials)} trials failed: {listed(told, limit=5)}\n"
            f"The others: {leaderboard}\n"
            "They count as tried. In a plain sweep, a trial whose folder is removed is run again."
        )
    print(f"sweep: {sweep_dir}\nnext: {leaderboard}")
