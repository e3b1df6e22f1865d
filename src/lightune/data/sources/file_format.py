"""The format of a file by its first bytes, where its name says something else."""

import re
from pathlib import Path

from lightune.common.errors import UserError
from lightune.data.sources.text_files import refuse_pointer

SAVE_AS_CSV = "Save it as CSV, in UTF-8."
UNPACK = "Unpack it first."
SIGNATURES = {
    b"PAR1": ("a Parquet file", "Rename it to end in .parquet."),
    b"\x1f\x8b": ("packed with gzip", "Add .gz to its name."),
    b"%PDF": ("a PDF", "Save its table as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", SAVE_AS_CSV),
    b"BZh": ("packed with bzip2", UNPACK),
    b"\xfd7zXZ": ("packed with xz", UNPACK),
    b"(\xb5/\xfd": ("packed with zstd", UNPACK),
    b"ARROW1": ("an Arrow file", "Name the folder that save_to_disk wrote, or save it as Parquet."),
    b"SQLite format 3": ("an SQLite database", "Export its table as CSV."),
}
"""What a file is that begins so, and the fix."""

FORMAT_NAMES = {"csv": "CSV", "json": "JSON", "conll": "CoNLL", "parquet": "Parquet", None: "a table"}
ZIP = b"PK\x03\x04"
HTML = re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE)
JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PEEK_BYTES = 4096  # enough to tell the format


def check_content(path: Path, kind: str | None) -> None:
    """Raise a UserError, with the fix, if the content of a file is not the kind that its name says.

    ``kind`` is ``csv``, ``json``, ``conll`` or ``parquet``; None: the name does not say. What is in a gzip file is
    not looked at.
    """
    with path.open("rb") as file:
        refuse_pointer(path, file)
        start = file.read(PEEK_BYTES)
    mismatch = None if path.suffix == ".gz" else _find_mismatch(start, kind)
    if mismatch is not None:
        content, fix = mismatch
        raise UserError(f"{path}: its content is not {FORMAT_NAMES[kind]}: it is {content}.\n{fix}")


def _find_mismatch(start: bytes, kind: str | None) -> tuple[str, str] | None:
    for signature, content_and_fix in SIGNATURES.items():
        if start.startswith(signature):
            return None if (kind, signature) == ("parquet", b"PAR1") else content_and_fix
    if start.startswith(ZIP):
        if b"xl/" in start or b"[Content_Types].xml" in start:
            return "an Excel workbook", SAVE_AS_CSV
        return "a ZIP archive", "Unpack it, and name one of its files or its folder."
    if HTML.match(start):
        return "a web page (HTML)", "Most likely it was saved in place of the file: download the file again."
    if kind == "csv" and JSON.match(start):
        return "JSON", "Rename it to end in .json or .jsonl."
    if kind != "parquet" and b"\0" in start and not start.startswith(UTF_16):
        return "not text, because it holds a NUL", "Name a text file in UTF-8, or a Parquet file."
    if kind == "parquet" and start:
        return "something else", "Rename it to end in .csv, .tsv, .json or .jsonl, or save it as Parquet."
    return None
