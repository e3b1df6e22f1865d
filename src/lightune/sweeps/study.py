"""Plan a search with Optuna: choose the next trials from the results so far."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightune.common.errors import UserError
from lightune.sweeps.grid import new_trial
from lightune.sweeps.search import DIRECTIONS, Search, Space, make_pruner, name_of_study, open_storage, started_trial
from lightune.sweeps.trial import Trial, is_trial, read_trial, sweep_id

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Study:
    """An Optuna study, and the sweep's folder with the trials that run here.

    ``fixed`` are the overrides of every trial; ``mode`` is the monitored metric's, as far as it is known before
    training; ``subdir`` names a trial's folder by the trial's number and overrides.
    """

    search: Search
    space: Space
    fixed: list[str]
    sweep_dir: Path
    mode: str
    subdir: Callable[[int, list[str]], str]

    @cached_property
    def _storage(self) -> "optuna.storages.BaseStorage":
        return open_storage(self.search.storage, sweep_dir=self.sweep_dir)

    @cached_property
    def _study(self) -> "optuna.Study":
        """The study in its storage, created where it is new; a UserError if it belongs to another command."""
        search, storage = self.search, self._storage
        import optuna

        name = name_of_study(search.study_name, storage=search.storage, sweep_dir=self.sweep_dir)
        pruner = make_pruner(search.pruner, n_startup_trials=search.n_startup_trials)
        study = optuna.create_study(
            storage=storage, pruner=pruner, study_name=name, direction=DIRECTIONS[self.mode], load_if_exists=True
        )
        # a search that is started again must not draw the same values again
        seed = None if search.seed is None else search.seed + len(study.get_trials(deepcopy=False))
        study.sampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if search.sampler == "random"
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.n_startup_trials, constant_liar=True)
        )
        self._check_command(study)
        return study

    def _check_command(self, study: "optuna.Study") -> None:
        """Compare the command with the one that started the study, or store it there."""
        command: dict[str, Any] = {
            "fixed": sorted(override for override in self.fixed if not override.startswith("sweep.")),
            **{option: str(values) for option, values in self.space.items()},
        }
        stored = study.user_attrs.get("command")
        if stored is None:
            study.set_user_attr("command", json.dumps(command, sort_keys=True))
            return
        stored = json.loads(stored)
        changed = [
            f"{option} was {stored.get(option)}, is {command.get(option)}"
            for option in sorted({*stored, *command})
            if stored.get(option) != command.get(option)
        ]
        if changed:
            raise UserError(
                f"The study {study.study_name!r} was started with another command: {'; '.join(changed)[:600]}.\n"
                f"To continue it: lightune resume {self.sweep_dir}\n"
                "For a new one name another folder (hydra.sweep.dir=DIR) or another sweep.study_name."
            )

    def next_trials(self) -> list[Trial]:
        """Return at most ``n_jobs`` trials to run now: first those of this folder that were killed, then new ones.

        Only one process at a time may call this for a folder.
        """
        study, n_jobs = self._study, self.search.n_jobs
        from optuna.trial import TrialState

        trials = []
        here = sweep_id(self.sweep_dir)
        for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if running.user_attrs.get("sweep") not in (None, here):
                # a trial in another folder, perhaps on another machine
                continue
            trial = self._trial(started_trial(study, running.number, storage=self._storage))
            if trial.has_ended:
                self.tell(trial)
            elif not trial.is_locked():
                trials.append(trial)
        left = self.search.n_trials - len(study.get_trials(deepcopy=False))
        for _ in range(min(left, n_jobs - len(trials))):
            new = study.ask()
            new.set_user_attr("sweep", here)
            trials.append(self._trial(new))
        return trials[:n_jobs]

    def _trial(self, trial: "optuna.Trial") -> Trial:
        """Return the trial of this folder, created where it is new; Optuna draws each value only once."""
        values = (f"{option}={space.draw(trial, option)}" for option, space in self.space.items())
        overrides = [*self.fixed, *values]
        folder = self.sweep_dir / self.subdir(trial.number, overrides)
        if is_trial(folder):
            return read_trial(folder)
        return new_trial(folder, number=trial.number, overrides=overrides, swept=list(self.space))

    def tell(self, trial: Trial) -> None:
        """Report the result of a trial to the study, unless it has not ended or the study knows it."""
        from optuna.trial import TrialState

        if not trial.has_ended:
            return
        value, state = None, TrialState.FAIL
        if trial.state == "finished" and trial.value is not None and math.isfinite(trial.value):
            # the task may have chosen another mode once the data were read
            value = trial.value if trial.mode in (None, self.mode) else -trial.value
            state = TrialState.COMPLETE
        elif trial.state == "pruned":
            state = TrialState.PRUNED
        self._study.tell(trial.number, value, state=state, skip_if_finished=True)
        log.info(f"trial {trial.number}: {trial.state} {'' if value is None else value}")
