"""Parallel text: a file a language, a sentence a line, become a row a line with a column a language."""

from pathlib import Path

from datasets import Dataset

from lightune.common.errors import UserError
from lightune.data.sources.text_files import read_lines
from lightune.data.splits import SPLIT_NAMES

Files = dict[str, dict[str, Path]]
NOT_LANGUAGES = {"csv", "tsv", "txt", "md", "log", "bak", "tmp", "zip", "bio", "iob"}


def parallel_files(folder: Path) -> Files:
    """Return ``{split: {language: file}}`` for files such as ``train.en`` and ``train.de``, gzipped or not.

    Raises:
        UserError: a split lacks the other language.
    """
    found: Files = {}
    for file in sorted(folder.iterdir()):
        stem, _, language = file.name.removesuffix(".gz").rpartition(".")
        is_code = language.isalpha() and 2 <= len(language) <= 3 and language.lower() not in NOT_LANGUAGES
        if file.is_file() and stem.lower() in SPLIT_NAMES and is_code:
            found.setdefault(SPLIT_NAMES[stem.lower()], {})[language] = file
    if not any(len(files) >= 2 for files in found.values()):
        return {}
    for split, files in found.items():
        if len(files) == 1:
            raise UserError(
                f"{next(iter(files.values()))}: the {split} split has one language, others have two.\n"
                "Expected a file for each language of each split, such as test.en and test.de"
            )
    return found


def read_parallel(files: Files) -> dict[str, Dataset]:
    """Read them.

    Raises:
        UserError: the files of a split have not the same number of lines, or one is not UTF-8.
    """
    return {split: _read(languages) for split, languages in files.items()}


def _read(languages: dict[str, Path]) -> Dataset:
    columns = {language: read_lines(path) for language, path in languages.items()}
    lines = {str(languages[language]): len(column) for language, column in columns.items()}
    if len(set(lines.values())) > 1:
        raise UserError(
            "Parallel files must have a line for each line of the other:\n"
            + "\n".join(f"{path}: {count:,} lines" for path, count in list(lines.items())[:3])
        )
    return Dataset.from_dict(columns)
