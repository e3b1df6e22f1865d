"""Whether files of weights are whole, by their first bytes and their size: before data is tokenized for them."""

import json
import pickle
import re
from pathlib import Path

from lightune.common.errors import UserError
from lightune.common.files import LFS_POINTER

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WHOLE = ("model.safetensors", "pytorch_model.bin")
MOST = 100_000_000  # bytes of a header, as safetensors itself has it


def check_weights(folder: Path) -> None:
    """Look for the weights of a model in its folder.

    Raises:
        UserError: there are none, a part is missing, or a safetensors file is shorter or longer than it says.
    """
    files = [folder / name for name in WHOLE if (folder / name).is_file()][:1]
    index = next((folder / name for name in INDICES if (folder / name).is_file()), None)
    if not files and index is not None:
        files = _parts(index)
    if not files:
        raise UserError(
            f"{folder} holds no weights: there is no model.safetensors.\n"
            "Copy the whole folder, or write it anew with save_pretrained."
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing, which {index} names.\nCopy the whole folder anew.")
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UserError(
                    f"{file} is a pointer of Git LFS, not the weights.\nFetch them in its folder: git lfs pull"
                )
        if file.suffix == ".safetensors":
            _check_size(file)


def _parts(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({index.parent / str(name) for name in names})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} does not say where the weights are: {error!r}.\nCopy it anew.") from error


def _check_size(file: Path) -> None:
    """Compare the size of a safetensors file with its header: 8 bytes that say how long it is, JSON, then the tensors."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= MOST else b""
    if size < 8 or length > MOST:
        raise _damaged(file, f"it is no safetensors file ({size:,} bytes)")
    if len(header) < length:
        raise _damaged(file, f"it was cut off within its header, after {size:,} bytes")
    try:
        tensors = {name: value for name, value in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((value["data_offsets"][1] for value in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(file, "its header cannot be read") from error
    if size != end:
        what = "it was cut off" if size < end else "there is more in it than it says"
        raise _damaged(file, f"{what}: {size:,} of {end:,} bytes")


def _damaged(file: Path, why: str) -> UserError:
    return UserError(f"{file} is damaged: {why}.\nCopy or download it anew.")


def unsafe_pickle_message(path: Path | str, error: pickle.UnpicklingError) -> str:
    """Say why a file of weights was refused. PyTorch's own words advise to read it without a check."""
    called = re.search(r"GLOBAL ([\w.]+\w)", str(error))
    what = (
        f"reading it would call {called.group(1)}"
        if called
        else "it is damaged, or reading it could run code"
    )
    return (
        f"{path} is refused: {what}. Nothing was run.\n"
        "Expected tensors and plain values only. If you do not know who made this file, delete it."
    )
