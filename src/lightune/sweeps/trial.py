"""``trial.json``: what became of one trial of a sweep, in its folder."""

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightune.common.errors import UserError, cannot_write
from lightune.common.files import atomic_file

ENDED = ("finished", "failed", "nan", "pruned")
STATES = ("waiting", "running", *ENDED)
FAILED = ("failed", "nan")
PATIENCE = 5  # seconds: whoever looks whether a trial is running holds its lock for a moment


@dataclass(kw_only=True)
class Trial:
    """One trial, as its folder says.

    Attributes:
        folder: its own.
        number: in its sweep, from 0.
        overrides: what ``train.py`` is given.
        swept: names of the options that the sweep varies.
        state: one of ``STATES``. ``running`` while nobody holds the lock: it was killed.
        message: why it failed, a line.
        metric: what is monitored, once known, such as ``val/accuracy``.
        mode: ``min`` or ``max``.
        value: of the metric; of a pruned trial the last that was measured.
    """

    folder: Path
    number: int
    overrides: list[str]
    swept: list[str]
    state: str = "waiting"
    message: str = ""
    metric: str | None = None
    mode: str | None = None
    value: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def shown_state(self) -> str:
        """The state, with what was killed told from what is running."""
        return "killed" if self.state == "running" and not self.is_held() else self.state

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = asdict(self)
        del kept["folder"]
        if self.value is not None and not math.isfinite(self.value):
            kept["value"] = None  # JSON has no such number
        with atomic_file(self.folder / "trial.json") as file:
            file.write(json.dumps(kept, indent=2) + "\n")

    def is_held(self) -> bool:
        """Say whether a living process runs this trial."""
        if not (self.folder / "trial.lock").exists():
            return False
        try:
            with FileLock(self.folder / "trial.lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that can only be read
            return False

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the trial's lock; gives False where another process does."""
        lock = FileLock(self.folder / "trial.lock", timeout=PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def is_trial(folder: Path) -> bool:
    """Say whether a sweep has planned a trial in this folder."""
    return (folder / "trial.json").is_file()


def read_trial(folder: Path) -> Trial:
    """Read a trial's file.

    Raises:
        UserError: it is not what a sweep writes.
    """
    file = folder / "trial.json"
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        value = found["value"]
        trial = Trial(
            folder=folder,
            number=int(found["number"]),
            overrides=[str(one) for one in found["overrides"]],
            swept=[str(one) for one in found["swept"]],
            state=str(found["state"]),
            message=str(found["message"]),
            metric=None if found["metric"] is None else str(found["metric"]),
            mode=None if found["mode"] is None else str(found["mode"]),
            value=None if value is None else float(value),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read: {error!r}") from error
    if trial.state not in STATES or any(one.startswith("-") for one in trial.overrides):
        raise UserError(f"{file} was not written by a sweep: its state or overrides are none.")
    return trial


def read_trials(sweep: Path) -> list[Trial]:
    """Read all trials of a sweep, by their number."""
    files = sweep.rglob("trial.json")
    return sorted((read_trial(file.parent) for file in files), key=lambda trial: trial.number)


@contextmanager
def planning(sweep: Path) -> Iterator[None]:
    """Keep other processes from planning trials in the same folder meanwhile.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        sweep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error) from error
    with FileLock(sweep / "sweep.lock"):
        if not is_sweep(sweep):
            (sweep / "sweep.id").write_text(uuid.uuid4().hex, encoding="ascii")
        yield


def is_sweep(folder: Path) -> bool:
    """Say whether trials were planned in this folder."""
    return (folder / "sweep.id").is_file()


def sweep_id(sweep: Path) -> str:
    """Return what tells this sweep's folder from others, on other machines too, wherever it is moved."""
    return (sweep / "sweep.id").read_text(encoding="ascii")


def sweep_of(folder: Path) -> Path:
    """Return the folder of the sweep that a trial's folder is in."""
    return next(parent for parent in folder.resolve().parents if is_sweep(parent))
