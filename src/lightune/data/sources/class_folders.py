"""A folder of text files for each class becomes ``{split: Dataset}``."""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from lightune.common.errors import UserError, listed
from lightune.data.sources.text_files import open_text, refuse_pointer
from lightune.data.splits import SPLIT_NAMES

PATTERNS = ("*/*.txt*", "*/*/*.txt*")
UNLABELLED = "unsup"  # aclImdb's folder of unlabelled reviews, beside the classes


def _text_files(source: Path) -> Iterator[tuple[Path, Callable[[], Any]]]:
    """Yield (path inside the source, how to open it) of ``[SPLIT/]CLASS/NAME.txt[.gz]`` in a folder or tar archive."""
    if source.is_dir():
        for path in sorted(path for pattern in PATTERNS for path in source.glob(pattern)):
            yield path.relative_to(source), partial(path.open, "rb")
        return
    with source.open("rb") as file:
        refuse_pointer(source, file)
        try:
            with tarfile.open(fileobj=file) as archive:
                for member in archive:
                    if member.isfile():
                        yield Path(member.name), partial(archive.extractfile, member)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{source}: not a whole tar archive.\nCopy it again, or name a folder.") from error


def holds_text_files(folder: Path) -> bool:
    """Say whether a folder has this layout, without reading its files."""
    return any(next(folder.glob(pattern), None) is not None for pattern in PATTERNS)


def read_class_folders(source: Path, class_folders: list[str] | None) -> dict[str, Dataset]:
    """Read ``SPLIT/CLASS/NAME.txt``, or ``CLASS/NAME.txt`` as one split; the label is the folder's name.

    Source of the layout: Maas et al. (2011), the Large Movie Review Dataset's archive (aclImdb).

    Raises:
        UserError: there are no such files, or one is not UTF-8, damaged or a pointer of Git LFS.
    """
    columns: dict[str, dict[str, list[str]]] = {}
    for path, opened in _text_files(source):
        if not path.name.endswith((".txt", ".txt.gz")) or len(path.parts) < 2:
            continue
        label = path.parts[-2]
        split = SPLIT_NAMES.get(path.parts[-3]) if len(path.parts) >= 3 else None
        if label in SPLIT_NAMES or label == UNLABELLED or (class_folders and label not in class_folders):
            continue
        with open_text(source / path, file=opened()) as file:
            text = file.read()
        rows = columns.setdefault(split or "train", {"text": [], "label": []})
        rows["text"].append(text)
        rows["label"].append(label)
    if not columns:
        raise UserError(
            f"{source}: no text files found.\nExpected a folder of .txt files for each class, "
            "such as train/pos/0_9.txt and train/neg/1_1.txt"
            + (f" ({listed(class_folders)})." if class_folders else ".")
        )
    return {split: Dataset.from_dict(rows) for split, rows in columns.items()}
