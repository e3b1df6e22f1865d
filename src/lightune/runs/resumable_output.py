"""A file of predictions that grows chunk by chunk; after a kill, the next process continues it."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from lightune.common.errors import UserError
from lightune.common.files import atomic_file
from lightune.runs.prediction_table import TABLES, write_table


class ResumableOutput:
    """``OUT.part`` and ``OUT.rejected.jsonl.part``, with ``OUT.part.json``, which says how much of them is complete.

    A chunk counts once both files are on the disk and the state says so. What follows it, such as a torn line, is cut
    off by the next process. Parts have a JSON object a line.

    Args:
        path: the name of the finished file; its ending names the format.
        made_from: what the predictions depend on; parts that were made from something else are not continued.

    Raises:
        UserError: the parts cannot be continued, another process writes them, or the folder cannot be written.
    """

    def __init__(self, path: Path, *, made_from: dict[str, Any]) -> None:
        self.path = path
        self.rejected_path = path.with_name(f"{path.name}.rejected.jsonl")
        self._parts = [file.with_name(f"{file.name}.part") for file in (path, self.rejected_path)]
        self._state_file = path.with_name(f"{path.name}.part.json")
        self._files: list[BinaryIO] = []
        self._lock = FileLock(path.with_name(f"{path.name}.part.lock"), timeout=0)
        try:
            self._lock.acquire()
            self.state = self._read_state(made_from)
            for part, size in zip(self._parts, self.state["bytes"], strict=True):
                self._files.append(part.open("ab"))
                self._files[-1].truncate(size)
        except Timeout as error:
            raise UserError(f"{path}: another process is writing it.") from error
        except OSError as error:
            self.close()
            raise self._cannot_write(error) from error
        except UserError:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """The number of input rows that are complete, including rejected ones."""
        return int(self.state["labelled"]) + int(self.state["rejected"])

    def append(self, labelled: list[str], rejected: list[str]) -> None:
        """Add a chunk's lines; raise a UserError if they cannot be written, such as to a full disk."""
        try:
            for file, lines in zip(self._files, (labelled, rejected), strict=True):
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
            self.state["labelled"] += len(labelled)
            self.state["rejected"] += len(rejected)
            self.state["bytes"] = [file.tell() for file in self._files]
            with atomic_file(self._state_file, sync=True) as state_file:
                json.dump(self.state, state_file)
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self) -> None:
        """Rename the files, or make a table; remove one without lines, and rejected rows of an older prediction."""
        self.close()
        part, rejected_part = self._parts
        is_table = self.path.suffix.lower() in TABLES
        if is_table and self.state["labelled"]:
            write_table(part, self.path)
        if self.state["rejected"]:
            rejected_part.replace(self.rejected_path)
        else:
            rejected_part.unlink()
            self.rejected_path.unlink(missing_ok=True)
        if self.state["labelled"] and not is_table:
            part.replace(self.path)
        else:
            part.unlink()
        self._state_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process continue."""
        for file in self._files:
            file.close()
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def _read_state(self, made_from: dict[str, Any]) -> dict[str, Any]:
        if not (self._state_file.is_file() and self._parts[0].is_file()):
            return {"made_of": made_from, "labelled": 0, "rejected": 0, "bytes": [0, 0]}
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
            made_of = state["made_of"].items()
            problem = "; ".join(f"its {name} was {old}" for name, old in made_of if old != made_from.get(name))
            sizes = [part.stat().st_size for part in self._parts]
            if not problem and any(size < least for size, least in zip(sizes, state["bytes"], strict=True)):
                problem = "it is damaged"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            problem = "it is damaged"
        if problem:
            raise UserError(
                f"{self._parts[0]} is left from a prediction that was stopped, and cannot be continued: {problem}.\n"
                f"To start anew: rm {self._state_file}\nTo keep it, name another --out."
            )
        return state

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(f"Cannot write {error.filename or self.path}: {error.strerror}.")
