"""A file of predictions that grows chunk by chunk: what was written stays when the process is killed, and is gone on with."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from lightune.common.errors import UserError


class ResumableOutput:
    """``OUT.part`` and ``OUT.rejected.jsonl.part``, and in ``OUT.part.json`` how much of them is sure.

    A chunk counts once both files are on the disk and the state says so; what lies behind, such as a torn line, is cut
    off when a later process goes on.

    Args:
        out: what the file is called when it is whole.
        made_of: what the predictions depend on; a part that was made of something else is not gone on with.

    Raises:
        UserError: there is such a part, it is damaged, another process writes it, or the folder cannot be written.
    """

    def __init__(self, out: Path, *, made_of: dict[str, Any]) -> None:
        self.out = out
        self.rejected = out.with_name(f"{out.name}.rejected.jsonl")
        self.parts = [file.with_name(f"{file.name}.part") for file in (out, self.rejected)]
        self.state_file = out.with_name(f"{out.name}.part.json")
        self._files: list[BinaryIO] = []
        self._lock = FileLock(out.with_name(f"{out.name}.part.lock"), timeout=0)
        try:
            self._lock.acquire()
            self.state = self._read_state(made_of)
            for part, size in zip(self.parts, self.state["bytes"], strict=True):
                self._files.append(part.open("ab"))
                self._files[-1].truncate(size)
        except Timeout as error:
            raise UserError(f"{out}: another process is writing it.") from error
        except OSError as error:
            self.close()
            raise self._cannot_write(error) from error
        except UserError:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """Rows of the input that are done, the rejected ones too."""
        return int(self.state["labelled"]) + int(self.state["rejected"])

    def append(self, labelled: list[str], rejected: list[str]) -> None:
        """Add a chunk's lines.

        Raises:
            UserError: the disk is full, or the like.
        """
        try:
            for file, lines in zip(self._files, (labelled, rejected), strict=True):
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
            self.state |= {
                "labelled": self.state["labelled"] + len(labelled),
                "rejected": self.state["rejected"] + len(rejected),
                "bytes": [file.tell() for file in self._files],
            }
            temporary = self.state_file.with_name(f"{self.state_file.name}.tmp")
            with temporary.open("w", encoding="utf-8") as state:
                json.dump(self.state, state)
                state.flush()
                os.fsync(state.fileno())
            temporary.replace(self.state_file)
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self) -> None:
        """Give the files their names; one without lines is removed, and so are an older prediction's rejected rows."""
        self.close()
        part, rejected_part = self.parts
        if self.state["rejected"]:
            rejected_part.replace(self.rejected)
        else:
            rejected_part.unlink()
            self.rejected.unlink(missing_ok=True)
        if self.state["labelled"]:
            part.replace(self.out)
        else:
            part.unlink()
        self.state_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process go on."""
        for file in self._files:
            file.close()
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def _read_state(self, made_of: dict[str, Any]) -> dict[str, Any]:
        if not (self.state_file.is_file() and self.parts[0].is_file()):
            return {"made_of": made_of, "labelled": 0, "rejected": 0, "bytes": [0, 0]}
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
            other = [
                f"{name} was {was}" for name, was in state["made_of"].items() if was != made_of.get(name)
            ]
            whole = all(
                part.stat().st_size >= size for part, size in zip(self.parts, state["bytes"], strict=True)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            other, whole = [], False
        if other or not whole:
            why = f"made of something else: its {'; its '.join(other)}" if other else "damaged"
            raise UserError(
                f"{self.parts[0]} is there, of a prediction that was stopped, and is {why}.\n"
                f"To start anew: rm {self.state_file}\nTo keep it, name another --out."
            )
        return state

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(f"Cannot write {error.filename or self.out}: {error.strerror}.")
