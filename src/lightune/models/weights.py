"""Weights: whether their files are complete, before data is tokenized for them, whether they fit, and their digest."""

import json
import pickle
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lightune.common.errors import UserError
from lightune.common.files import LFS_POINTER

# weights inside the body that a checkpoint may lack: the task learns them
HEAD_NAMES = re.compile("pooler|crossattention|qa_outputs|classif")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# the limit of safetensors itself
MAX_HEADER_BYTES = 100_000_000


def check_weights(folder: Path) -> None:
    """Raise a UserError for missing weight files in a model's folder, and for safetensors of a wrong size."""
    files = [file for name in WEIGHT_FILES if (file := folder / name).is_file()][:1]
    indices = [file for name in WEIGHT_FILES if (file := folder / f"{name}.index.json").is_file()]
    if not files and indices:
        files = _files_of(indices[0])
    if not files:
        raise UserError(
            f"{folder} holds no weights: there is no model.safetensors.\n"
            "Copy the complete folder, or write it again with save_pretrained."
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing, which {indices[0]} names.\nCopy the complete folder again.")
        check_fetched(file)
        if file.suffix == ".safetensors":
            _check_size(file)


def check_fetched(file: Path) -> None:
    """Raise a UserError for a Git LFS pointer in place of a file."""
    with file.open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            raise UserError(f"{file} is a Git LFS pointer, not the file itself.\nFetch it in its folder: git lfs pull")


def _files_of(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({index.parent / str(name) for name in names})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} does not say where the weights are: {error!r}.\nCopy it again.") from error


def _check_size(file: Path) -> None:
    """Compare a safetensors file's size with its header: 8 bytes that hold its length, JSON, then the tensors."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= MAX_HEADER_BYTES else b""
    if size < 8 or length > MAX_HEADER_BYTES:
        raise damaged(file, f"it is no safetensors file ({size:,} bytes)")
    if len(header) < length:
        raise damaged(file, f"it was cut off within its header, after {size:,} bytes")
    try:
        tensors = {name: value for name, value in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((value["data_offsets"][1] for value in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(file, "its header cannot be read") from error
    if size != end:
        problem = "it was cut off" if size < end else "it is longer than its header says"
        raise damaged(file, f"{problem}: {size:,} of {end:,} bytes")


def damaged(file: Path, problem: str) -> UserError:
    """Return the error for a file whose bytes are not what was saved."""
    return UserError(f"{file} is damaged: {problem}.\nCopy or download it again.")


def unsafe_pickle_message(path: Path | str, error: pickle.UnpicklingError) -> str:
    """Explain why a file of weights was refused. PyTorch's own message advises to load it without a check."""
    call = re.search(r"GLOBAL ([\w.]+\w)", str(error))
    reason = f"reading it would call {call[1]}" if call else "it is damaged, or reading it could run code"
    return (
        f"{path} is refused: {reason}. Nothing was run.\n"
        "Expected tensors and plain values only. If you do not know who made this file, delete it."
    )


def check_body(model: PreTrainedModel, new: set[str], *, name: str) -> None:
    """Refuse a model of this name where weights that are ``new`` leave a part of the body random: transformers does not."""
    prefix = f"{model.base_model_prefix}."
    is_body = not any(name.startswith(prefix) for name, _ in model.named_parameters())
    in_body = {name for name in new if is_body or name.startswith(prefix)}
    if random := sorted(name for name in in_body if not HEAD_NAMES.search(name)):
        raise UserError(
            f"{name}: its weights do not fit its config.json: "
            f"{len(random)} of the model's own tensors would stay random, the first is {random[0]}.\n"
            "Save model and configuration together, with save_pretrained."
        )


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of named tensors: of their names, dtypes, shapes and bytes."""
    sha = sha256()
    for name, tensor in tensors:
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
