"""``lightune audit``: labels that look wrong, rows that are nearly the same, and what to label next."""

import argparse
from pathlib import Path

from lightune.commands import Commands
from lightune.common.errors import UserError
from lightune.config import load_run_config
from lightune.runs.members import runs_of


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("audit", help="find wrong labels and near-duplicates, and what to label next")
    parser.add_argument("folder", type=Path, metavar="SWEEP", help="a sweep's folder, best over folds; or a run's")
    parser.add_argument("--unlabeled", type=Path, metavar="FILE", help="rows to label: which would teach most")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder; default: SWEEP/audit")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    folders, out = runs_of([arguments.folder]), arguments.out or arguments.folder / "audit"
    for folder in folders:
        load_run_config(folder)  # its errors are reported before torch is imported
    if arguments.out is not None and out.exists():
        raise UserError(f"--out {out} exists already, and is left as it is. Name a new folder.")
    if arguments.unlabeled is not None and not arguments.unlabeled.is_file():
        raise UserError(f"There is no file {arguments.unlabeled}.")

    from rich.console import Console
    from rich.table import Table

    from lightune.common.quiet import quiet
    from lightune.runs.audit import tables
    from lightune.runs.audit.rows import judge_rows

    quiet()
    rows, columns = judge_rows(folders)
    lists = {"label_issues": tables.label_issues(rows), "near_duplicates": tables.near_duplicates(rows)}
    if arguments.unlabeled is not None:
        lists["to_label"] = tables.to_label(arguments.unlabeled, folders, rows[columns])
    tables.write_tables(out, lists, title=f"Audit of {arguments.folder}", text_columns=columns)
    counts = tables.counts(rows)
    shown = Table("", *(name.replace("_", " ") for name in counts), caption="near train: has a near-duplicate there")
    for split, *figures in counts.itertuples():
        shown.add_row(split, *(f"{figure:,}" for figure in figures))
    Console(highlight=False).print(shown)
    if counts["held_out"]["train"] < counts["rows"]["train"]:
        print("To judge every training row, audit a sweep over folds: -m data.num_folds=5 data.fold=0,1,2,3,4")
    print("\n".join(str(out / name) for name in (*(f"{name}.csv" for name in lists), "audit.html")))
