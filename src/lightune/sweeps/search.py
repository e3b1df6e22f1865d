"""How a search with Optuna goes, and where its study is kept. Needs ``pip install -e '.[sweep]'``."""

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
ATTEMPTS = 3
DIRECTIONS = {"min": "minimize", "max": "maximize"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values, written as on the command line."""

    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers from ``low`` to ``high``, both included; whole ones where both are, in steps of ``step`` where given."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


Space = Mapping[str, Choice | Interval]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a search goes.

    Args:
        n_trials: of the whole study, however often it is started and by how many processes.
        n_jobs: trials that the launcher is given at a time.
        sampler: proposes values: ``tpe`` (Bergstra et al., 2011) or ``random``.
        pruner: stops bad trials early: ``median``, ``successive_halving`` (Li et al., 2020) or ``none``.
        n_startup_trials: first trials that are random, and never pruned by ``median``.
        storage: a journal file (``FILE.journal``) or a database's URL (``sqlite:///FILE.db``, ``postgresql://…``), which
            several machines may share; None: a journal file in the sweep's folder.
        study_name: in that storage; None: the name of the sweep's folder.
        seed: of the sampler; None: another each time. Machines that share a study need each its own.

    Raises:
        UserError: a sampler or pruner that is not there.
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
        for option, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if getattr(self, option) not in known:
                raise UserError(
                    f"sweep.{option}={getattr(self, option)}: {nearest(getattr(self, option), known)}"
                )
        for option in ("n_trials", "n_jobs"):
            if not isinstance(getattr(self, option), int) or getattr(self, option) < 1:
                raise UserError(
                    f"sweep.{option}={getattr(self, option)}: expected a whole number of at least 1."
                )


def open_storage(storage: str | None, *, sweep: Path) -> "optuna.storages.BaseStorage":
    """Open where a study is kept.

    Raises:
        UserError: Optuna is not installed, or the storage cannot be opened.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage, get_storage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError("sweep=optuna needs Optuna: pip install -e '.[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = str(sweep / "study.journal") if storage is None else storage
    if "://" not in where and not where.endswith(".journal"):
        raise UserError(f"sweep.storage={where}: expected FILE.journal, or a URL such as sqlite:///FILE.db")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return get_storage(where) if "://" in where else JournalStorage(JournalFileBackend(where))
        except Exception as error:  # whatever a database's driver raises
            if attempt == ATTEMPTS:
                raise UserError(
                    f"sweep.storage={where}: {str(error).strip().splitlines()[0][:200]}\n"
                    "Expected FILE.journal in a folder that is there, or a URL such as sqlite:///FILE.db"
                ) from error
            time.sleep(attempt)  # another process may be making its tables
    raise AssertionError


def name_of_study(name: str | None, *, storage: str | None, sweep: Path) -> str:
    """Return a study's name in its storage; in a sweep's own folder, which may be renamed, always the same."""
    return name or ("study" if storage is None else sweep.resolve().name)


def make_pruner(name: str, *, n_startup_trials: int) -> "optuna.pruners.BasePruner":
    """Make a pruner by its short name."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=n_startup_trials)
    made: pruners.BasePruner = getattr(pruners, PRUNERS[name])()
    return made
