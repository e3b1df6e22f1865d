"""Parallel text: a file for each language with a sentence a line becomes a column for each language."""

from pathlib import Path

from datasets import Dataset

from lightune.common.errors import UserError
from lightune.data.sources.text_files import read_lines
from lightune.data.splits import SPLIT_NAMES

Files = dict[str, dict[str, Path]]
NOT_LANGUAGES = {"csv", "tsv", "txt", "md", "log", "bak", "tmp", "zip", "bio", "iob"}


def parallel_files(folder: Path) -> Files:
    """Return ``{split: {language: file}}`` of ``train.en``, ``train.de``, …; raise a UserError for one language."""
    splits: Files = {}
    for file in sorted(folder.iterdir()):
        stem, _, language = file.name.removesuffix(".gz").rpartition(".")
        is_code = language.isalpha() and 2 <= len(language) <= 3 and language.lower() not in NOT_LANGUAGES
        if file.is_file() and stem.lower() in SPLIT_NAMES and is_code:
            splits.setdefault(SPLIT_NAMES[stem.lower()], {})[language] = file
    if not any(len(files) >= 2 for files in splits.values()):
        return {}
    for split, files in splits.items():
        if len(files) == 1:
            raise UserError(
                f"{next(iter(files.values()))}: the {split} split has one language, others have two.\n"
                "Expected a file for each language of each split, such as test.en and test.de"
            )
    return splits


def read_parallel(files: Files) -> dict[str, Dataset]:
    """Read the files of each split as columns; UserError if their numbers of lines differ, or one is not UTF-8."""
    splits = {}
    for split, languages in files.items():
        columns = {language: read_lines(path) for language, path in languages.items()}
        if len({len(column) for column in columns.values()}) > 1:
            counts = [f"{languages[language]}: {len(column):,} lines" for language, column in columns.items()]
            raise UserError("\n".join(["Parallel files must have the same number of lines:", *counts[:3]]))
        splits[split] = Dataset.from_dict(columns)
    return splits
