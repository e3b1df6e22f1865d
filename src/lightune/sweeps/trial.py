"""``trial.json``: the state of a trial, in the trial's folder."""

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from lightune.common.errors import UserError, cannot_write
from lightune.common.files import write_json
from lightune.config.restart import is_sweep

ENDED_STATES = ("finished", "failed", "nan", "pruned")
STATES = ("waiting", "running", *ENDED_STATES)
FAILED_STATES = ("failed", "nan")
# Seconds. Whoever asks whether a trial is running holds its lock for a moment.
LOCK_TIMEOUT = 5


@dataclass(kw_only=True)
class Trial:
    """One trial of a sweep, by its number from 0; its overrides are arguments of ``train.py``.

    ``state`` is one of ``STATES``; a ``running`` trial whose lock nobody holds was killed. ``message`` says in a line
    why it failed. ``metric`` is the monitored one, such as ``val/accuracy``, once it is known, and ``mode`` is ``min``
    or ``max``; ``value`` is for a pruned trial the last one measured.
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
    def has_ended(self) -> bool:
        return self.state in ENDED_STATES

    @property
    def display_state(self) -> str:
        """The state, with ``killed`` for a trial that no longer runs."""
        return "killed" if self.state == "running" and not self.is_locked() else self.state

    def write(self) -> None:
        """Write ``trial.json``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = asdict(self)
        del values["folder"]
        if self.value is not None and not math.isfinite(self.value):
            # JSON has neither NaN nor infinity
            values["value"] = None
        write_json(self.folder / "trial.json", values)

    def is_locked(self) -> bool:
        """Return whether a living process runs this trial."""
        if not (self.folder / "trial.lock").exists():
            return False
        try:
            with self.lock(timeout=0) as is_ours:
                return not is_ours
        except OSError:
            # a read-only folder
            return False

    @contextmanager
    def lock(self, *, timeout: float = LOCK_TIMEOUT) -> Iterator[bool]:
        """Hold the trial's lock; yield False where another process holds it."""
        try:
            held = FileLock(self.folder / "trial.lock").acquire(timeout=timeout)
        except Timeout:
            yield False
            return
        with held:
            yield True


STORED = [field.name for field in fields(Trial) if field.name != "folder"]
READER = TypeAdapter(Trial)


def is_trial(folder: Path) -> bool:
    """Return whether this is the folder of a trial."""
    return (folder / "trial.json").is_file()


def read_trial(folder: Path) -> Trial:
    """Read ``trial.json``, or raise a UserError if no sweep has written the file."""
    file = folder / "trial.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        values = {name: stored[name] for name in STORED}
        trial = READER.validate_python({"folder": folder, **values})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(repr(error).splitlines()[:3])}") from error
    if trial.state not in STATES or any(override.startswith("-") for override in trial.overrides):
        raise UserError(f"{file} was not written by a sweep: its state or its overrides are invalid.")
    return trial


def read_trials(sweep_dir: Path) -> list[Trial]:
    """Read all trials of a sweep, in the order of their numbers."""
    files = sweep_dir.rglob("trial.json")
    return sorted((read_trial(file.parent) for file in files), key=lambda trial: trial.number)


@contextmanager
def lock_sweep(sweep_dir: Path) -> Iterator[None]:
    """Create a sweep's folder, or raise a UserError; keep other processes from adding trials to it meanwhile."""
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error) from error
    with FileLock(sweep_dir / "sweep.lock"):
        if not is_sweep(sweep_dir):
            (sweep_dir / "sweep.id").write_text(uuid.uuid4().hex, encoding="ascii")
        yield


def sweep_id(sweep_dir: Path) -> str:
    """Return an identifier of a sweep's folder that is unique across machines and survives renaming."""
    return (sweep_dir / "sweep.id").read_text(encoding="ascii")


def sweep_dir_of(trial_dir: Path) -> Path:
    """Return the sweep's folder that holds a trial's folder."""
    return next(parent for parent in trial_dir.resolve().parents if is_sweep(parent))
