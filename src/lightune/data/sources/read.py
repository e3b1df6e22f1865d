"""Files, folders and the Hub become ``{split: Dataset}``. Nothing here knows about tasks or tokens."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import datasets.config
from datasets import Dataset, DatasetDict, Features, Value, get_dataset_config_names, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from datasets.fingerprint import Hasher
from pyarrow.lib import ArrowException

from lightune.common import hub, package_index
from lightune.common.errors import UserError, did_you_mean, listed
from lightune.common.files import atomic_folder
from lightune.data.sources.class_folders import holds_text_files, read_class_folders
from lightune.data.sources.conll import is_conll, read_conll
from lightune.data.sources.csv_files import check_csv, find_delimiter
from lightune.data.sources.file_format import check_content
from lightune.data.sources.json_files import find_malformed, json_start
from lightune.data.sources.pandas_json import may_be_pandas, read_pandas
from lightune.data.sources.parallel_text import parallel_files, read_parallel
from lightune.data.sources.squad_json import is_squad, read_squad
from lightune.data.sources.text_files import not_utf8
from lightune.data.splits import SPLIT_NAMES

TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
VERSION = re.compile(r"-v\d+$")  # SQuAD calls its files train-v1.1.json and dev-v1.1.json
NOT_A_PLAIN_NAME = re.compile(r"[*?\[\]{}!#%|$\\]|:[:/]")  # datasets reads a pattern or an address
FILE_PER_SPLIT = "data.path.train=FILE data.path.validation=FILE data.path.test=FILE"


def read(
    path: str | Mapping[str, str | None],
    *,
    name: str | None = None,
    revision: str | None = None,
    delimiter: str | None = None,
    class_folders: list[str] | None = None,
) -> dict[str, Dataset]:
    """Read a data set by the shape of its path.

    Args:
        path: a file (CSV, TSV, JSON, JSONL, Parquet, CoNLL or SQuAD's, gzipped or not); a file for each split; a
            folder of such files named after their splits, of parallel texts (``train.en``, ``train.de``), of
            ``save_to_disk``, in the Hub's layout, or with a folder of text files for each class (also as ``.tar.gz``);
            ``embedded:NAME``; or a name on the Hub.
        name: configuration of a data set that has several, as ``mnli`` in ``glue``.
        revision: branch, tag or commit on the Hub.
        delimiter: of CSV files; None: a comma, or a tab in TSV.
        class_folders: which folders of text files are classes; None: all of them.

    Raises:
        UserError: there is nothing at the path, or it cannot be read.
    """
    if isinstance(path, Mapping):
        files = {split: file for split, file in path.items() if file is not None}
        if "train" not in files:
            raise UserError(
                "data.path is not set: which data?\n"
                "  one file or folder:    data.path=FILE_OR_FOLDER\n"
                f"  a file for each split: {FILE_PER_SPLIT}"
            )
        return {split: read_table(_existing(file), delimiter=delimiter) for split, file in files.items()}
    source = Path(package_index.resolve(path)).expanduser()
    if source.is_file():
        if _is_archive(source):
            return read_class_folders(source, class_folders)
        return {"train": read_table(source, delimiter=delimiter)}
    if source.is_dir():
        return _read_folder(source, name=name, delimiter=delimiter, class_folders=class_folders)
    if source.is_absolute() or path.startswith((".", "~")) or table_format(source) or _is_archive(source):
        _existing(path)
    return _read_hub(path, name=name, revision=revision)


def read_table(path: Path, *, delimiter: str | None = None) -> Dataset:
    """Read one CSV, TSV, JSON, JSONL, Parquet or CoNLL file, gzipped or not.

    Every CSV value stays a text as written, also ``NA``, ``null`` and ``007``. UserError if the file is empty,
    malformed or of another format.
    """
    kind = table_format(path)
    check_content(path, kind)
    if kind is None:
        raise UserError(
            f"{path}: cannot tell its format from its name.\nExpected one of {listed(TABLES)} (or these with .gz)."
        )
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty.\nExpected a header and rows, or one JSON object a line.")
    if kind == "conll":
        return read_conll(path)
    if kind == "json":
        start = json_start(path)
        if is_squad(start):
            return read_squad(path)
        if may_be_pandas(start) and (rows := read_pandas(path)) is not None:
            return rows
    options: dict[str, object] = {}
    if kind == "csv":
        found, skipped = find_delimiter(path)
        delimiter = delimiter or found
        features = Features(dict.fromkeys(check_csv(path, delimiter, skipped=skipped), Value("string")))
        options = {"sep": delimiter, "features": features, "keep_default_na": False, "encoding": "utf-8-sig"}
        options["skiprows"] = skipped
    try:
        rows = load_dataset(kind, data_files=str(_plainly_named(path)), split="train", **options)
    except (DatasetGenerationError, ArrowException, OSError, ValueError) as error:
        cause = error.__cause__ or error if isinstance(error, DatasetGenerationError) else error
        if isinstance(cause, UnicodeDecodeError):
            raise not_utf8(path) from error
        if isinstance(cause, OSError) and cause.errno is not None:  # of the disk, not of the file
            raise UserError(
                f"Cannot write {cause.filename or 'the cache'}: {cause.strerror}.\n"
                "Rows are kept in the cache folder of datasets. Make room, or name another: HF_DATASETS_CACHE=DIR python train.py …"
            ) from error
        if kind == "json" and (malformed := find_malformed(path)) is not None:
            raise malformed from error
        if "corresponds to no data" in str(error):
            after = " after the header" if kind == "csv" else ""
            raise UserError(f"{path}: there are no rows.\nExpected at least one{after}.") from error
        if isinstance(error, ValueError) and not isinstance(error, ArrowException):
            raise
        reason = str(cause).strip().splitlines()[0]
        raise UserError(f"{path}: not well-formed {kind.upper()}: {reason}") from error
    if r"\x00" in repr(rows.features):  # Arrow ends a name at its NUL when it returns rows
        raise UserError(f"{path}: the name of a column, or of a field in one, holds a NUL.\nRename it.")
    return rows


def table_format(path: Path) -> str | None:
    """Return ``csv``, ``json``, ``parquet`` or ``conll``; None if the file is not a table."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    known = suffix in TABLES and suffix != ".tsv"
    return "conll" if is_conll(path, extension=suffix, known=known) else TABLES.get(suffix)


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".tar.gz", ".tgz", ".tar"))


def _existing(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.exists():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(
            f"data.path: there is no file or folder {path}. {did_you_mean(file.name, siblings)}\n"
            f"Relative paths start at {Path.cwd()}."
        )
    return file


def _read_folder(
    folder: Path, *, name: str | None, delimiter: str | None, class_folders: list[str] | None
) -> dict[str, Dataset]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        try:
            saved = load_from_disk(str(_plainly_named(folder)))
        except (OSError, ValueError, IndexError) as error:
            raise UserError(
                f"{folder}: this folder of save_to_disk cannot be read: {error}.\n"
                "One of its files is missing or damaged, or a split has no rows: save it again."
            ) from error
        return dict(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    readme = folder / "README.md"
    is_described = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith("---")
    if not is_described:
        if holds_text_files(folder):
            return read_class_folders(folder, class_folders)
        if parallel := parallel_files(folder):
            return read_parallel(parallel)
        if files := _split_files(folder):
            return {split: read_table(file, delimiter=delimiter) for split, file in files.items()}
    path = str(_plainly_named(folder))
    try:
        if get_dataset_config_names(path) == ["default"]:
            name = None  # a copy of one configuration
        return dict(load_dataset(path, name, cache_dir=_cache_of(folder)))
    except (DatasetGenerationError, FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{folder}: cannot be read as a data set: {str(error.__cause__ or error).strip().splitlines()[0][:200]}\n"
            f"Expected files named train, validation and test ({listed(TABLES)}), a folder of text files for each class,\n"
            "a folder of save_to_disk, or the Hub's layout."
        ) from error


def _split_files(folder: Path) -> dict[str, Path]:
    """Return ``{split: file}`` for tables that are named after their splits; a single table is train."""
    tables = sorted(file for file in folder.iterdir() if file.is_file() and table_format(file))
    files: dict[str, Path] = {}
    for file in tables:
        stem = VERSION.sub("", file.name.split(".")[0].lower())
        if stem in SPLIT_NAMES and files.setdefault(SPLIT_NAMES[stem], file) is not file:
            raise UserError(
                f"{folder}: {files[SPLIT_NAMES[stem]].name} and {file.name} are the same split.\n"
                f"Say which: {FILE_PER_SPLIT}"
            )
    return files or ({"train": tables[0]} if len(tables) == 1 else {})


def _plainly_named(path: Path) -> Path:
    """Return a path that datasets takes literally: itself, or links to the file or the folder's files in the cache."""
    if not NOT_A_PLAIN_NAME.search(path.resolve().as_posix()):
        return path
    links = Path(f"{_cache_of(path)}-links")
    link = links / f"linked{'.gz' if path.suffix == '.gz' else ''}"
    if not links.exists():
        with atomic_folder(links) as folder:
            if path.is_dir():
                shutil.copytree(path.resolve(), folder / link.name, copy_function=os.symlink)
            else:
                (folder / link.name).symlink_to(path.resolve())
    return link


def _cache_of(path: Path) -> str:
    """Return a cache folder for this file, or folder, with this content.

    datasets would cache a local folder under its last name alone: another folder of that name, or an edited
    file, would silently give the old rows.
    """
    files = sorted(file for file in [path, *path.rglob("*")] if file.is_file())
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "folders" / Hasher.hash(stats))


def _read_hub(path: str, *, name: str | None, revision: str | None) -> dict[str, Dataset]:
    is_online = hub.use_hub_or_cache()
    try:
        return dict(load_dataset(path, name, revision=revision))
    except (DatasetNotFoundError, ConnectionError, ValueError, FileNotFoundError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")[:300]
        if not is_online:
            reason = "the Hub cannot be reached, and it is not in the local cache"
        raise UserError(
            f"Cannot load the data set {path}: {reason}.\n" + hub.WAYS_OUT.format(option="data.path")
        ) from error
