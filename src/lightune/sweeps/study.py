"""A search under way: what to try next, told by what was measured."""

import json
import logging
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightune.common.errors import UserError
from lightune.sweeps.grid import new_trial
from lightune.sweeps.search import (
    DIRECTIONS,
    Choice,
    Interval,
    Search,
    Space,
    make_pruner,
    name_of_study,
    open_storage,
)
from lightune.sweeps.trial import Trial, is_trial, read_trial, sweep_id

if TYPE_CHECKING:
    import optuna


class Study:
    """A search's study, and this sweep's folder with the trials that run here.

    Args:
        search: how it goes.
        space: what it varies.
        fixed: the other overrides, the same in each trial.
        sweep: the folder.
        mode: of the monitored metric, ``min`` or ``max``.
        name: makes a trial's folder's name of its number and overrides.
    """

    def __init__(
        self,
        search: Search,
        *,
        space: Space,
        fixed: list[str],
        sweep: Path,
        mode: str,
        name: Callable[[int, list[str]], str],
    ) -> None:
        self._search, self._space, self._fixed, self._sweep, self._name = search, space, fixed, sweep, name
        self._mode = mode
        self._told = {
            "fixed": sorted(one for one in fixed if not one.startswith("sweep.")),
            **{option: str(values) for option, values in space.items()},
        }

    @cached_property
    def study(self) -> "optuna.Study":
        """The study, made where it is not there yet.

        Raises:
            UserError: it is there, of another command.
        """
        storage = open_storage(self._search.storage, sweep=self._sweep)
        import optuna

        search = self._search
        name = name_of_study(search.study_name, storage=search.storage, sweep=self._sweep)
        study = optuna.create_study(
            storage=storage,
            pruner=make_pruner(search.pruner, n_startup_trials=search.n_startup_trials),
            study_name=name,
            direction=DIRECTIONS[self._mode],
            load_if_exists=True,
        )
        # a search that is started again must not draw what it has drawn
        seed = None if search.seed is None else search.seed + len(study.get_trials(deepcopy=False))
        study.sampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if search.sampler == "random"
            else optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=search.n_startup_trials, constant_liar=True
            )
        )
        before = study.user_attrs.get("command")
        if before is None:
            study.set_user_attr("command", json.dumps(self._told, sort_keys=True))
        else:
            self._check(json.loads(before), name)
        return study

    def _check(self, before: dict[str, Any], name: str) -> None:
        changed = [
            f"{one} was {before.get(one)}, is {self._told.get(one)}"
            for one in sorted({*before, *self._told})
            if before.get(one) != self._told.get(one)
        ]
        if changed:
            raise UserError(
                f"The study {name!r} was started with another command: {'; '.join(changed)[:600]}.\n"
                f"To go on with it as it was started: lightune resume {self._sweep}\n"
                "For a new one name another folder (hydra.sweep.dir=DIR) or another sweep.study_name."
            )

    def next_trials(self) -> list[Trial]:
        """Return what is to run now: first trials of this folder that were killed, then new ones, at most ``n_jobs``.

        To be called by one process of the folder at a time.
        """
        study = self.study  # says it where Optuna is not installed
        import optuna

        found = []
        here = sweep_id(self._sweep)
        running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        for frozen in running:
            if frozen.user_attrs.get("sweep") not in (None, here):
                continue  # of another folder, perhaps on another machine
            trial = self._trial(optuna.Trial(study, frozen._trial_id))
            if trial.ended:
                self.tell(trial)
            elif not trial.is_held():
                found.append(trial)
        count = len(study.get_trials(deepcopy=False))
        while len(found) < self._search.n_jobs and count < self._search.n_trials:
            asked = study.ask()
            asked.set_user_attr("sweep", here)
            found.append(self._trial(asked))
            count += 1
        return found[: self._search.n_jobs]

    def _trial(self, trial: "optuna.Trial") -> Trial:
        """Return the trial's folder, planned where it is not yet; values that it has are not drawn again."""
        overrides = [
            *self._fixed,
            *(f"{name}={_draw(trial, name, one)}" for name, one in self._space.items()),
        ]
        folder = self._sweep / self._name(trial.number, overrides)
        if is_trial(folder):
            return read_trial(folder)
        return new_trial(folder, number=trial.number, overrides=overrides, swept=list(self._space))

    def tell(self, trial: Trial) -> None:
        """Tell the study what became of a trial; nothing where it has not ended, or the study knows."""
        from optuna.trial import TrialState

        if not trial.ended:
            return
        value, state = None, TrialState.FAIL
        if trial.state == "finished" and trial.value is not None and math.isfinite(trial.value):
            # the head that the data made may be judged the other way round than the task said
            value = trial.value if trial.mode in (None, self._mode) else -trial.value
            state = TrialState.COMPLETE
        elif trial.state == "pruned":
            state = TrialState.PRUNED
        self.study.tell(trial.number, value, state=state, skip_if_finished=True)
        logging.getLogger(__name__).info(
            f"trial {trial.number}: {trial.state} {'' if value is None else value}"
        )


def _draw(trial: "optuna.Trial", name: str, values: Choice | Interval) -> str:
    if isinstance(values, Choice):
        return str(trial.suggest_categorical(name, values.values))
    if isinstance(values.low, int) and isinstance(values.high, int):
        step = 1 if values.step is None else int(values.step)
        return str(trial.suggest_int(name, values.low, values.high, step=step, log=values.log))
    return repr(trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log))
