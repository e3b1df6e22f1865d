"""What a file is by its first bytes, where its name promises something else."""

import re
from pathlib import Path

from lightune.common.errors import UserError
from lightune.common.files import LFS_POINTER

BEGINNINGS = {
    b"PAR1": ("a Parquet file", "Call it .parquet."),
    b"\x1f\x8b": ("packed with gzip", "Add .gz to its name."),
    LFS_POINTER: ("a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull"),
    b"%PDF": ("a PDF", "Save its table as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "Save it as CSV, in UTF-8."),
    b"BZh": ("packed with bzip2", "Unpack it first."),
    b"\xfd7zXZ": ("packed with xz", "Unpack it first."),
    b"(\xb5/\xfd": ("packed with zstd", "Unpack it first."),
    b"ARROW1": ("an Arrow file", "Name the folder that save_to_disk made, or save it as Parquet."),
    b"SQLite format 3": ("an SQLite database", "Export its table as CSV."),
}
KINDS = {"csv": "CSV", "json": "JSON", "conll": "CoNLL's", "parquet": "Parquet", None: "a table"}
ZIP = b"PK\x03\x04"
HTML = re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE)
JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PEEK = 4096  # bytes that tell what a file is


def check_content(path: Path, kind: str | None) -> None:
    """Refuse a file that is something else than its name promises.

    Args:
        path: of a file, not a gzipped one.
        kind: ``csv``, ``json``, ``conll`` or ``parquet``; None: its name promises nothing.

    Raises:
        UserError: says what it is, and what to do.
    """
    with path.open("rb") as file:
        start = file.read(PEEK)
    found = _found(start, kind)
    if found is not None:
        what, way = found
        raise UserError(f"{path}: its content is not {KINDS[kind]}: it is {what}.\n{way}")


def _found(start: bytes, kind: str | None) -> tuple[str, str] | None:
    for beginning, said in BEGINNINGS.items():
        if start.startswith(beginning):
            return None if (kind, beginning) == ("parquet", b"PAR1") else said
    if start.startswith(ZIP):
        is_excel = b"xl/" in start or b"[Content_Types].xml" in start
        return (
            ("an Excel workbook", "Save it as CSV, in UTF-8.")
            if is_excel
            else ("a ZIP archive", "Unpack it, and name a file or the folder of it.")
        )
    if HTML.match(start):
        return "a web page (HTML)", "It was most likely saved in place of the file: download that anew."
    if kind == "csv" and JSON.match(start):
        return "JSON", "Call it .json or .jsonl."
    if kind != "parquet" and b"\0" in start and not start.startswith(UTF_16):
        return "no text, for it holds a NUL", "Name a text file in UTF-8, or Parquet."
    if kind == "parquet" and start:
        return (
            "something else",
            "Call it what it is: .csv, .tsv, .json or .jsonl; or write it anew as Parquet.",
        )
    return None
