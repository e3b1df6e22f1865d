"""A run's best model as a folder that transformers, or peft, loads with nothing of this package at hand."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.errors import UserError


def export_merged(model: Any, tokenizer: PreTrainedTokenizerBase, *, out: Path) -> None:
    """Write weights as safetensors, adapters merged, the configuration and the tokenizer.

    Args:
        model: with its weights; its adapters are merged in place.
        tokenizer: of the run.
        out: a folder that is not there yet.

    Raises:
        UserError: transformers has no class for the model, or the folder cannot be written.
    """
    from finetune.adapters import merge

    _check(model)
    merge(model)
    _write(out, lambda folder: (model.save_pretrained(folder), tokenizer.save_pretrained(folder)))


def export_adapter(
    model: Any, tokenizer: PreTrainedTokenizerBase, *, out: Path, base: str, revision: str | None
) -> None:
    """Write adapters and head as peft does: what ``PeftModel.from_pretrained`` reads beside the pretrained model.

    Args:
        model: with its weights and adapters.
        tokenizer: of the run.
        out: a folder that is not there yet.
        base: the pretrained model, by the name that transformers knows.
        revision: of that model on the Hub.

    Raises:
        UserError: the model has no adapters, transformers has no class for it, or the folder cannot be written.
    """
    from finetune.adapters import save

    _check(model)
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

    def write(folder: Path) -> None:
        save(model, folder, base=base, revision=revision)
        tokenizer.save_pretrained(folder)

    _write(out, write)


def _check(model: Any) -> None:
    if not isinstance(model, PreTrainedModel):
        raise UserError(
            "This run's head stands on pooled hidden states (model.pooling), for which transformers has no class.\n"
            "finetune predict and evaluate read the run as it is. For a model that can be exported train with\n"
            "the architecture's own head: model.pooling=null"
        )


def _write(out: Path, write: Any) -> None:
    """Fill a folder beside the one that is wanted, then rename it: there is no half of a model."""
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        write(temporary)
        temporary.chmod(0o755)  # mkdtemp makes it private
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
