"""Options of a search with Optuna, and where its study is stored. Needs ``pip install -e '.[sweep]'``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lightune.common.bounds import Between
from lightune.common.errors import UserError, nearest

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random")
PRUNERS = {"median": "MedianPruner", "successive_halving": "SuccessiveHalvingPruner", "none": "NopPruner"}
DIRECTIONS = {"min": "minimize", "max": "maximize"}
CONNECTION_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values, written as on the command line."""

    values: tuple[str, ...]

    def draw(self, trial: "optuna.Trial", option: str) -> str:
        return str(trial.suggest_categorical(option, self.values))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers from ``low`` to ``high``, both included, in steps of ``step``; integers if both bounds are integers."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def draw(self, trial: "optuna.Trial", option: str) -> str:
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return str(trial.suggest_int(option, self.low, self.high, step=step, log=self.log))
        return repr(trial.suggest_float(option, self.low, self.high, step=self.step, log=self.log))


Space = Mapping[str, Choice | Interval]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Options of a search.

    Args:
        n_trials: trials of the whole study, however often it is started and by however many processes.
        n_jobs: trials that the launcher gets at a time.
        sampler: proposes values: ``tpe`` (Bergstra et al., 2011) or ``random``.
        pruner: stops bad trials early: ``median``, ``successive_halving`` (Li et al., 2020) or ``none``.
        n_startup_trials: first trials, which are random and never pruned by ``median``.
        storage: a journal file (``FILE.journal``) or a database's URL (``sqlite:///FILE.db``, ``postgresql://…``), which
            several machines may share; None: a journal file in the sweep's folder.
        study_name: name of the study in that storage; None: the name of the sweep's folder.
        seed: seed of the sampler; None: a new one each time. Machines that share a study need different seeds.

    Raises:
        UserError: an option is invalid.
    """

    n_trials: Annotated[int, Between(1)]
    n_jobs: Annotated[int, Between(1)]
    sampler: Literal["tpe", "random"]
    pruner: Literal["median", "successive_halving", "none"]
    n_startup_trials: Annotated[int, Between(0)]
    storage: str | None
    study_name: str | None
    seed: int | None

    def __post_init__(self) -> None:
        for option, value, known in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in known:
                raise UserError(f"sweep.{option}={value}: {nearest(value, known)}")
        for option, number in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if not isinstance(number, int) or number < 1:
                raise UserError(f"sweep.{option}={number}: expected a whole number of at least 1.")


def open_storage(storage: str | None, *, sweep_dir: Path) -> "optuna.storages.BaseStorage":
    """Open the storage of a study; raise a UserError if Optuna is not installed, or it cannot be opened."""
    try:
        import optuna
        from optuna.storages import JournalStorage, get_storage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError("sweep=optuna needs Optuna: pip install -e '.[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = str(sweep_dir / "study.journal") if storage is None else storage
    if "://" not in name and not name.endswith(".journal"):
        raise UserError(f"sweep.storage={name}: expected FILE.journal, or a URL such as sqlite:///FILE.db")
    for attempt in range(1, CONNECTION_ATTEMPTS + 1):
        try:
            return get_storage(name) if "://" in name else JournalStorage(JournalFileBackend(name))
        # a database's driver may raise anything
        except Exception as error:
            if attempt == CONNECTION_ATTEMPTS:
                raise UserError(
                    f"sweep.storage={name}: {str(error).strip().splitlines()[0][:200]}\n"
                    "Expected FILE.journal in an existing folder, or a URL such as sqlite:///FILE.db"
                ) from error
            # another process may be creating the tables
            time.sleep(attempt)
    raise AssertionError


def name_of_study(name: str | None, *, storage: str | None, sweep_dir: Path) -> str:
    """Return a study's name in its storage; constant in the sweep's own folder, which may be renamed."""
    return name or ("study" if storage is None else sweep_dir.resolve().name)


def started_trial(study: "optuna.Study", number: int, *, storage: "optuna.storages.BaseStorage") -> "optuna.Trial":
    """Return a trial that any process has started, to report to it or to read its values."""
    import optuna

    study_id = storage.get_study_id_from_name(study.study_name)
    return optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def make_pruner(name: str, *, n_startup_trials: int) -> "optuna.pruners.BasePruner":
    """Make a pruner from its name in ``PRUNERS``."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=n_startup_trials)
    pruner: pruners.BasePruner = getattr(pruners, PRUNERS[name])()
    return pruner
