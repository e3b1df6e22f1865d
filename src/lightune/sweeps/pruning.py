"""Stop a trial whose results fall behind those of other trials."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lightning import Callback, LightningModule, Trainer

from lightune.common.bounds import Between
from lightune.common.errors import PrunedError
from lightune.common.trainer_state import is_fitting
from lightune.sweeps.search import DIRECTIONS, make_pruner, name_of_study, open_storage, started_trial
from lightune.sweeps.trial import is_trial, read_trial, sweep_dir_of

if TYPE_CHECKING:
    import optuna


class Pruning(Callback):
    """Report each validation to the study, and end the trial where the study's pruner says so.

    The trial ends one step later, after its metrics and its checkpoint were written; a trial that has finished training is
    never pruned. Rank 0 asks the pruner, and all ranks end at the same step. Outside a sweep this callback does nothing.

    ``run_dir`` is the trial's folder, ``metric`` and ``mode`` are the monitored ones; ``lightune.sweeps.search.Search``
    describes the other arguments.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        metric: str | None,
        mode: str | None,
        pruner: Literal["median", "successive_halving", "none"],
        n_startup_trials: Annotated[int, Between(0)],
        storage: str | None,
        study_name: str | None,
    ) -> None:
        self._trial_dir = Path(run_dir)
        self._metric, self._mode = str(metric), mode or "max"
        self._pruner, self._n_startup_trials = pruner, n_startup_trials
        self._storage, self._study_name = storage, study_name
        self._trial: optuna.Trial | None = None
        # trials are compared by the number of the validation: their steps have different sizes
        self._validations = 0
        # the metric's value when the pruner decided to stop
        self._pruned_value: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pruner == "none" or not trainer.is_global_zero or not is_trial(self._trial_dir):
            return
        sweep_dir = sweep_dir_of(self._trial_dir)
        storage = open_storage(self._storage, sweep_dir=sweep_dir)
        import optuna

        name = name_of_study(self._study_name, storage=self._storage, sweep_dir=sweep_dir)
        pruner = make_pruner(self._pruner, n_startup_trials=self._n_startup_trials)
        study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        number = read_trial(self._trial_dir).number
        # a person may resume a trial that has ended
        if not study.get_trials(deepcopy=False)[number].state.is_finished():
            self._trial = started_trial(study, number, storage=storage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pruner == "none" or not is_fitting(trainer):
            return
        self._validations += 1
        value = float(trainer.callback_metrics.get(self._metric, math.nan))
        if math.isfinite(value):
            should_prune = trainer.strategy.broadcast(self._should_prune(value))
            self._pruned_value = value if should_prune else None

    def on_train_batch_start(self, *_: Any) -> None:
        if self._pruned_value is not None:
            raise PrunedError(self._pruned_value)

    def _should_prune(self, value: float) -> bool:
        if self._trial is None:
            return False
        is_reversed = DIRECTIONS[self._mode] != self._trial.study.direction.name.lower()
        self._trial.report(-value if is_reversed else value, self._validations)
        return bool(self._trial.should_prune())
