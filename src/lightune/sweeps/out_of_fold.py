"""``out_of_fold.jsonl``: a prediction for each row of a cross-validation, by the model that was not trained on it."""

import json
from collections import defaultdict
from pathlib import Path

from lightune.common.files import atomic_file
from lightune.config import settings_and_command
from lightune.sweeps.leaderboard import Leaderboard


def write_out_of_fold(board: Leaderboard) -> Path | None:
    """Write the rows of the best setting's folds into the sweep's folder, each row of the data once.

    A line is one of a fold's ``validation_predictions.jsonl``, with its ``fold``. Of several seeds it is the first
    whose folds are all finished. Where there is none, nor a prediction, there is no file: None.
    """
    path = board.sweep_dir / "out_of_fold.jsonl"
    by_seed: dict[tuple[object, ...], dict[int, Path]] = defaultdict(dict)
    for trial in board.groups[0].trials if board.groups and board.groups[0].is_folded else ():
        settings, _ = settings_and_command(trial.folder)
        file = trial.folder / "validation_predictions.jsonl"
        if file.is_file():
            found = by_seed[settings["seed"], settings.get("data.split_seed")]
            found[settings["data.fold"]] = file
            if len(found) == settings["data.num_folds"]:
                with atomic_file(path) as out:
                    for fold, file in sorted(found.items()):
                        for line in file.read_text(encoding="utf-8").splitlines():
                            out.write(json.dumps(json.loads(line) | {"fold": fold}, ensure_ascii=False) + "\n")
                return path
    if path.is_file():
        # of a setting that was the best before
        path.unlink()
    return None
