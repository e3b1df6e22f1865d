"""Hydra's way into :mod:`lightune.sweeps`: it looks for sweepers in ``hydra_plugins``, and nowhere else."""

import shlex
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, RangeSweep
from hydra.core.utils import JobStatus
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightune.common.errors import UserError
from lightune.config import check_calls
from lightune.sweeps.trial import FAILED, Trial, planning, read_trial, read_trials


class TrialSweeper(BasicSweeper):
    """Run every combination, or what a search proposes; go on where a sweep was stopped.

    A trial's folder says what became of it, so the same command with the same ``hydra.sweep.dir`` runs what has not ended:
    a trial that was killed goes on from its last checkpoint. A trial that fails is told at the end.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep.

        Raises:
            UserError: trials have failed, which are named; or the folder holds another sweep.
        """
        assert self.config is not None and self.hydra_context is not None
        given = [*self._parse_config(), *arguments]
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(given)
        sweep = Path(str(self.config.hydra.sweep.dir))
        if self.config.get("sweep") is None:
            self._grid(overrides, sweep)
        else:
            self._search(overrides, sweep)
        _tell(sweep)

    def _grid(self, overrides: list[Override], sweep: Path) -> None:
        from lightune.sweeps.grid import plan_grid

        jobs = [list(job) for job in product(*_options(overrides).values())]
        swept = [one.get_key_element() for one in overrides if one.is_sweep_override()]
        self.validate_batch_is_legal(jobs)
        with planning(sweep):
            trials = plan_grid(jobs, sweep=sweep, swept=swept, name=self._name)
            self._save(sweep)
        self._launch([trial for trial in trials if not trial.ended and not trial.is_held()])

    def _search(self, overrides: list[Override], sweep: Path) -> None:
        from lightune.sweeps.study import Study

        assert self.config is not None
        space = {
            one.get_key_element(): _values(one, now=OmegaConf.select(self.config, one.key_or_group))
            for one in overrides
            if one.is_sweep_override()
        }
        if not space:
            raise UserError(
                "sweep=optuna has nothing to vary. Say between what: 'optimizer.lr=tag(log,interval(1e-5,1e-3))',\n"
                "data.batch_size=16,32 or 'trainer.max_epochs=range(1,4)'"
            )
        fixed = [str(one.input_line) for one in overrides if not one.is_sweep_override()]
        self.validate_batch_is_legal(_examples(space, fixed))
        mode = _mode(self.config)
        study = Study(
            instantiate(self.config.sweep), space=space, fixed=fixed, sweep=sweep, mode=mode, name=self._name
        )
        while True:
            with planning(sweep):
                trials = study.next_trials()
                self._save(sweep)
            if not trials:
                return
            self._launch(trials)
            with planning(sweep):
                for trial in trials:
                    study.tell(read_trial(trial.folder))

    def _name(self, number: int, overrides: list[str]) -> str:
        """Return the name of a trial's folder, as ``hydra.sweep.subdir`` makes it."""
        assert self.config is not None and self.hydra_context is not None
        raw = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        assert isinstance(raw, dict)
        if raw["subdir"] == "${hydra:job.num}":
            return str(number)
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        cfg.hydra.job.num, cfg.hydra.job.id = number, str(number)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)
        try:
            return str(cfg.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = before

    def _launch(self, trials: Sequence[Trial]) -> None:
        assert self.launcher is not None and self.config is not None
        sweep = Path(str(self.config.hydra.sweep.dir))
        size = self.max_batch_size or max(1, len(trials))
        for first in range(0, len(trials), size):
            batch = trials[first : first + size]
            jobs = [[*trial.overrides, _subdir(trial.folder.relative_to(sweep))] for trial in batch]
            done = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
            for trial, job in zip(batch, done, strict=True):
                if job.status == JobStatus.FAILED and not read_trial(trial.folder).ended:
                    trial.state, trial.message = "failed", str(job._return_value).strip().partition("\n")[0]
                    trial.write()

    def _save(self, sweep: Path) -> None:
        """Keep the command, for ``lightune resume``."""
        temporary = sweep / "multirun.tmp"
        OmegaConf.save(self.config, temporary)
        temporary.replace(sweep / "multirun.yaml")


def _options(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return for each option what it is given in turn; of an option that is given twice, the last."""
    found = {}
    for one in overrides:
        name = one.get_key_element()
        if one.is_interval_sweep():
            raise UserError(
                f"{one.input_line}: an interval has no end of values to try.\n"
                f"Name them, {name}=A,B, or let some be drawn: sweep=random, sweep=optuna"
            )
        found[name] = (
            [f"{name}={value}" for value in one.sweep_string_iterator()]
            if one.is_sweep_override()
            else [str(one.input_line)]
        )
    return found


def _examples(space: dict[str, Any], fixed: list[str]) -> list[list[str]]:
    """Return trials in which each value that can be counted stands once, to see whether they can be composed."""
    values = {name: getattr(one, "values", None) or (str(one.low),) for name, one in space.items()}
    first = {name: all_of[0] for name, all_of in values.items()}
    return [
        [*fixed, *(f"{key}={value}" for key, value in {**first, name: chosen}.items())]
        for name, all_of in values.items()
        for chosen in all_of
    ]


def _values(override: Override, *, now: Any) -> Any:
    """Return what an option may be; ``now`` is its value without the sweep, which says whether it is a whole number."""
    from lightune.sweeps.search import Choice, Interval

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None
        if type(now) is int and float(low).is_integer() and float(high).is_integer():
            low, high = int(low), int(high)
        return Interval(low=low, high=high, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        return Interval(low=min(numbers), high=max(numbers), step=abs(value.step))
    return Choice(values=tuple(override.sweep_string_iterator()))


def _mode(cfg: DictConfig) -> str:
    """Return whether the monitored metric is to be small or large, as far as is known before the data are read."""
    if cfg.monitor.mode is not None:
        return str(cfg.monitor.mode)
    if cfg.task.get("monitor") is not None:
        return str(cfg.task.monitor[1])

    from lightune.runs.load import task_class  # imports torch

    check_calls(cfg, parts=["task"])
    return task_class(cfg).monitor[1]


def _subdir(name: Path) -> str:
    return f"hydra.sweep.subdir={QuotedString(text=str(name), quote=Quote.single).with_quotes()}"


def _tell(sweep: Path) -> None:
    trials = read_trials(sweep)
    failed = [
        f"{trial.number} ({trial.state}: {shorten(trial.message, 200, placeholder='…')})"
        for trial in trials
        if trial.state in FAILED
    ]
    table = f"lightune leaderboard {shlex.quote(str(sweep))}"
    if failed:
        raise UserError(
            f"{len(failed)} of {len(trials)} trials failed: {', '.join(failed[:5])}{', …' if failed[5:] else ''}\n"
            f"The others: {table}\n"
            "They count as tried. In a plain sweep, one whose folder is removed is run again."
        )
    print(f"sweep: {sweep}\nnext: {table}")
