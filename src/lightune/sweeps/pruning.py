"""Stop a trial of a sweep that others have left behind."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lightune.common.bounds import Between
from lightune.common.errors import PrunedError
from lightune.sweeps.search import DIRECTIONS, make_pruner, name_of_study, open_storage
from lightune.sweeps.trial import is_trial, read_trial, sweep_of

if TYPE_CHECKING:
    import optuna


class Pruning(Callback):
    """Tell the study what each validation measured, and end the trial where its pruner says so.

    The trial ends at the step after, so that what was measured and the checkpoint are written; one whose training is over is
    never pruned. The first process asks, all end at the same step. Outside a sweep it does nothing.

    Args:
        run_dir: the trial's folder, which knows its number.
        metric: that is monitored.
        mode: ``min`` or ``max``.
        pruner: see ``lightune.sweeps.search.Search``, as the others.
        n_startup_trials: that ``median`` never prunes.
        storage: of the study.
        study_name: in that storage.
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
        self._folder = Path(run_dir)
        self._metric, self._mode = str(metric), mode or "max"
        self._pruner, self._n_startup_trials = pruner, n_startup_trials
        self._storage, self._study_name = storage, study_name
        self._trial: optuna.Trial | None = None
        self._pruned_at: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pruner == "none" or not trainer.is_global_zero or not is_trial(self._folder):
            return
        sweep = sweep_of(self._folder)
        storage = open_storage(self._storage, sweep=sweep)
        import optuna

        study = optuna.load_study(
            study_name=name_of_study(self._study_name, storage=self._storage, sweep=sweep),
            storage=storage,
            pruner=make_pruner(self._pruner, n_startup_trials=self._n_startup_trials),
        )
        frozen = study.get_trials(deepcopy=False)[read_trial(self._folder).number]
        if not frozen.state.is_finished():  # one that has ended may be gone on with by hand
            self._trial = optuna.Trial(study, frozen._trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pruner == "none" or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        measured = trainer.callback_metrics.get(self._metric)
        if measured is None or not math.isfinite(float(measured)):
            return
        is_bad = trainer.strategy.broadcast(self._is_bad(float(measured), trainer.global_step))
        self._pruned_at = float(measured) if is_bad else None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._pruned_at is not None:
            raise PrunedError(self._pruned_at)

    def _is_bad(self, measured: float, step: int) -> bool:
        if self._trial is None:
            return False
        is_turned = DIRECTIONS[self._mode] != self._trial.study.direction.name.lower()
        self._trial.report(-measured if is_turned else measured, step)
        return bool(self._trial.should_prune())
