"""A folder of text files for each class becomes ``{split: Dataset}``."""

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from datasets import Dataset

from lightune.common.errors import UserError, listed
from lightune.data.splits import SPLIT_NAMES

PATTERNS = ("*/*.txt*", "*/*/*.txt*")
UNLABELLED = "unsup"  # aclImdb's folder of unlabelled reviews, beside the classes


def _text_files(source: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (path inside the source, content) of ``[SPLIT/]CLASS/NAME.txt[.gz]`` in a folder or tar archive."""
    if source.is_dir():
        for file in sorted(file for pattern in PATTERNS for file in source.glob(pattern)):
            yield PurePosixPath(file.relative_to(source).as_posix()), file.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield PurePosixPath(member.name), content.read()


def holds_text_files(folder: Path) -> bool:
    """Say whether a folder has this layout, without reading its files."""
    return any(next(folder.glob(pattern), None) is not None for pattern in PATTERNS)


def read_class_folders(source: Path, class_folders: list[str] | None) -> dict[str, Dataset]:
    """Read ``SPLIT/CLASS/NAME.txt``, or ``CLASS/NAME.txt`` as one split; the label is the folder's name.

    Source of the layout: Maas et al. (2011), the Large Movie Review Dataset's archive (aclImdb).

    Raises:
        UserError: there are no such files, or one is not UTF-8.
    """
    columns: dict[str, dict[str, list[str]]] = {}
    for path, content in _text_files(source):
        if not path.name.endswith((".txt", ".txt.gz")) or len(path.parts) < 2:
            continue
        label = path.parts[-2]
        split = SPLIT_NAMES.get(path.parts[-3]) if len(path.parts) >= 3 else None
        if label in SPLIT_NAMES or label == UNLABELLED or (class_folders and label not in class_folders):
            continue
        try:
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{source}/{path}: not UTF-8: {error.reason} at byte {error.start}.") from error
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
