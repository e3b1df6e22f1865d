"""A run's best model as a folder that transformers, or peft, loads with nothing of this package at hand."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lightune.common.errors import UserError


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Give a folder beside the one that is wanted, and rename it when it is filled: there is no half of a model.

    Raises:
        UserError: it cannot be written.
    """
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes it private
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_loadable(model: Any) -> None:
    """Look whether transformers has a class for a model.

    Raises:
        UserError: it has none.
    """
    if not isinstance(model, PreTrainedModel):
        raise UserError(
            "This run's head stands on pooled hidden states (model.pooling), for which transformers has no class.\n"
            "Export it as a graph: --format onnx. Or train with the architecture's own head: model.pooling=null"
        )


def save_merged(model: Any, folder: Path) -> None:
    """Write weights as safetensors, and the configuration.

    Args:
        model: with its weights; its adapters are merged in place.
        folder: where to.

    Raises:
        UserError: transformers has no class for the model.
    """
    from lightune.tuning.lora import merge

    check_loadable(model)
    merge(model)
    model.save_pretrained(folder)


def save_adapter(model: Any, folder: Path, *, base: str, revision: str | None) -> None:
    """Write adapters and head as peft does: what ``PeftModel.from_pretrained`` reads beside the pretrained model.

    Args:
        model: with its weights and adapters.
        folder: where to.
        base: the pretrained model, by the name that transformers knows.
        revision: of that model on the Hub.

    Raises:
        UserError: the model has no adapters, or transformers has no class for it.
    """
    from lightune.tuning.lora import save

    check_loadable(model)
    if not hasattr(model, "peft_config"):
        raise UserError(
            "This run has no adapter: it was not trained with tuning=lora.\n"
            "Export the whole model: leave --adapter out."
        )
    if model.config.model_type == "encoder-decoder":
        raise UserError(
            "An encoder that is used twice is no model that transformers loads by one name, for an adapter to stand on.\n"
            "Export the whole model: leave --adapter out."
        )
    save(model, folder, base=base, revision=revision)
