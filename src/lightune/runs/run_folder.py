"""The folder of a run: what lies where, written by training and read by every command."""

import csv
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.common.files import refuse_archive, write_json
from lightune.runs.checkpoint_io import newest_loadable, read_checkpoint

log = logging.getLogger(__name__)


class Run:
    """The layout of a run folder.

    ``.hydra/`` its configuration; ``model/`` tokenizer and model configuration, so that the pretrained
    model's own folder is not needed again; ``checkpoints/best.ckpt`` and ``last.ckpt``; ``metrics.csv`` by
    step and epoch; ``metrics.json`` the final figures of the best checkpoint; ``confusion_matrix.csv``
    of the test rows; ``signatures.json`` of metrics that have several ways; ``train.log``; ``environment.json``;
    ``predictions.jsonl`` of the test rows, ``validation_predictions.jsonl``; ``pretrained.json`` of a language model before training; ``report.html``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model"
        self.best = folder / "checkpoints" / "best.ckpt"
        self.last = folder / "checkpoints" / "last.ckpt"
        self.metrics = folder / "metrics.json"
        self.signatures = folder / "signatures.json"
        self.environment = folder / "environment.json"
        self.predictions = folder / "predictions.jsonl"
        self.validation_predictions = folder / "validation_predictions.jsonl"
        self.pretrained = folder / "pretrained.json"
        self.report = folder / "report.html"

    @property
    def checkpoints(self) -> list[Path]:
        """All that are there."""
        return sorted((self.folder / "checkpoints").glob("*.ckpt"))

    def is_resumed(self, *, asked: bool) -> bool:
        """Return whether training resumes here: a person asks, or SLURM has requeued the job.

        Raises:
            UserError: nobody asks, but the folder holds checkpoints, which would be overwritten.
        """
        if asked or not self.checkpoints:
            return asked
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:
            return True
        raise UserError(
            f"{self.folder} holds a run already.\n"
            f"To go on with it: lightune resume {self.folder}\n"
            "For a new one choose another folder (hydra.run.dir=…), or remove this one."
        )

    def checkpoint_to_resume(self) -> Path:
        """Return the newest checkpoint that can be read, and log damaged ones; raise a UserError where there is none."""
        found, damaged = newest_loadable(self.checkpoints)
        if found is None:
            why = f"none can be read: {', '.join(damaged)}" if damaged else "there is none"
            raise UserError(
                f"{self.folder} cannot be resumed: of the checkpoints in {self.last.parent}, {why}.\n"
                "Start the run anew, in another folder."
            )
        if damaged:
            rank_zero_only(log.warning)(f"Damaged: {', '.join(damaged)}. Going on from {found.name}, which is older.")
        return found

    def link_best(self, found: Path) -> None:
        """Make ``best.ckpt`` a second name of the best checkpoint, if several were kept."""
        if found == self.best:
            return
        temporary = self.best.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(found)
        except OSError:
            # a file system without links
            shutil.copyfile(found, temporary)
        temporary.replace(self.best)
        # it is still there if both already were the same file
        temporary.unlink(missing_ok=True)

    def save_model_files(self, tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
        """Save what the checkpoint does not hold: tokenizer, architecture and generation settings."""
        tokenizer.save_pretrained(self.model)
        model.config.save_pretrained(self.model)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(self.model)

    def save_head(self, head: Mapping[str, Any]) -> None:
        """Save the head's settings, which the data determined, for ``head``."""
        write_json(self.model / "head.json", head)

    def head(self) -> dict[str, Any]:
        """Return the head's settings, or raise a UserError for a file that cannot be read."""
        file = self.model / "head.json"
        try:
            head: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read: {error}") from error
        # JSON has no numbers as keys
        if "id2label" in head:
            head["id2label"] = {int(index): name for index, name in head["id2label"].items()}
        return head

    def check_model(self) -> None:
        """Raise a UserError where tokenizer and configuration of the model are missing."""
        refuse_archive(self.folder)
        if not self.model.is_dir():
            raise UserError(
                f"model.from_run: {self.folder} is not the folder of a run: it holds no model/.\n"
                "Name a folder such as outputs/imdb-bert/2026-01-31_12-00-00-000000."
            )

    def check_best(self) -> None:
        """Raise a UserError where there is no best checkpoint."""
        if not self.best.is_file():
            raise UserError(
                f"{self.folder} holds no checkpoints/best.ckpt: the run has not finished an epoch.\n"
                "Name the folder of a finished run, as printed at its end."
            )

    def best_checkpoint(self) -> dict[str, Any]:
        """Read the best checkpoint, or raise a UserError where there is none, or none that can be read."""
        self.check_best()
        checkpoint = read_checkpoint(self.best)
        if "state_dict" not in checkpoint:
            raise UserError(f"{self.best} cannot be loaded: it holds no state_dict.")
        return checkpoint

    def monitored(self) -> float:
        """Return the metric that chose the best checkpoint of a finished run."""
        return float(json.loads(self.metrics.read_text(encoding="utf-8"))["monitored"])

    def write_confusion_matrix(self, matrix: list[list[int]], label_names: list[Any]) -> None:
        """Write ``confusion_matrix.csv``: a row for each true label, a column for each predicted one."""
        with (self.folder / "confusion_matrix.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["true \\ predicted", *label_names])
            writer.writerows([name, *row] for name, row in zip(label_names, matrix, strict=True))
