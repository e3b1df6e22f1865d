"""The configuration of a run, read back from its folder."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightune.common.errors import UserError
from lightune.config.checks import check_calls
from lightune.config.older_runs import upgraded
from lightune.config.rerun import not_a_run

USED_NODES = (
    *("model", "task", "preprocessor", "decoder_only", "data"),
    *("tuning", "optimizer", "scheduler", "layerwise_lr_decay"),
)
"""What commands instantiate of a saved configuration; never its callbacks, loggers or Trainer."""

TRUSTED = "LIGHTUNE_TRUST_REMOTE_CODE"
"""Names the commit whose code a run's model may run in ``lightune`` commands."""


def load_run_config(folder: Path) -> DictConfig:
    """Read the configuration of a run from its folder, wherever that folder is now.

    Raises:
        UserError: this is not a run folder, its configuration would call what nobody allowed, or its model would run
            code that the person at the keyboard has not named.
    """
    saved, hydra = folder / ".hydra" / "config.yaml", folder / ".hydra" / "hydra.yaml"
    if not saved.is_file() or not hydra.is_file():
        raise not_a_run(folder, saved)
    plain: Any = OmegaConf.to_container(OmegaConf.load(saved))
    cfg = OmegaConf.create(upgraded(plain))
    cfg.run_dir = str(folder)
    check_calls(cfg, nodes=USED_NODES)
    if cfg.model.get("trust_remote_code") and os.environ.get(TRUSTED) != cfg.model.revision:
        raise UserError(
            f"{folder} runs Python code that came with its model, at commit {cfg.model.revision}; a run's folder cannot vouch for it.\n"
            f"Nothing was run. If you know that code: {TRUSTED}={cfg.model.revision} lightune …"
        )
    started_in = Path(OmegaConf.load(hydra).hydra.runtime.cwd)
    # needed where the run's checkpoint holds only the trained weights
    for name in ("pretrained_model_name_or_path", "from_run"):
        cfg.model[name] = _absolute(cfg.model.get(name), started_in)
    cfg.data.path = _absolute(OmegaConf.to_container(cfg.data, resolve=True)["path"], started_in)  # type: ignore[call-overload,index]
    return cfg


def _absolute(path: Any, folder: Path) -> Any:
    """Make relative local paths absolute, as seen from ``folder``."""
    if isinstance(path, dict):
        return {split: _absolute(file, folder) for split, file in path.items()}
    return str(folder / path) if path is not None and (folder / path).exists() else path
