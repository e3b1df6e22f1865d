"""Call ``from_pretrained``, and explain to people why it failed."""

import pickle
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lightune.common import hub, package_index
from lightune.common.errors import UserError, did_you_mean
from lightune.models import gguf_file
from lightune.models.model_with_head import EXPORTED_CODE
from lightune.models.weights import check_fetched, unsafe_pickle_message

# errors that the libraries raise with a message of their own; others mean little without their type
LIBRARY_ERRORS = (OSError, ValueError, RuntimeError, EOFError, SafetensorError)
FILES = {"AutoConfig": "config.json", "AutoTokenizer": "tokenizer.json and tokenizer_config.json"}


def load(auto_class: Any, name: str, *, trust_remote_code: bool, **settings: Any) -> Any:
    """Load a configuration, a tokenizer or a model by its auto class, from the Hub, a folder or a GGUF file, or ``embedded:NAME``.

    Raises:
        UserError: there is no model of this name, its files cannot be read, or it needs code that is not trusted.
    """
    source = package_index.resolve(name)
    folder = Path(source).expanduser()
    if folder.suffix == ".gguf" and not folder.is_dir():
        return _load_gguf(auto_class, folder, name, **settings)
    is_local = folder.is_dir()
    if is_local or folder.is_absolute() or source.startswith((".", "~")):
        _check_folder(folder, name)
    is_reachable = is_local or hub.use_hub_or_cache()
    try:
        return auto_class.from_pretrained(
            str(folder) if is_local else source, trust_remote_code=trust_remote_code, **settings
        )
    except pickle.UnpicklingError as error:
        raise UserError(unsafe_pickle_message(f"{name}: pytorch_model.bin", error)) from error
    # damaged files make the readers fail in any way
    except Exception as error:
        if trust_remote_code and not isinstance(error, LIBRARY_ERRORS):
            # a bug in the model's own code
            raise
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{name} brings Python code of its own, which runs only if you allow it. Nothing was run.\n"
                "Choose another model; or read that code, and name the commit that you read:\n"
                "model.trust_remote_code=true model.revision=COMMIT (40 digits of 0-9a-f)"
            ) from error
        if is_local:
            files = FILES.get(auto_class.__name__, "config.json and model.safetensors")
            raise UserError(
                f"Cannot load {files} of {name}: {first_line(error)}.\n"
                "Expected them as save_pretrained writes them: copy the folder again, or name another model."
            ) from error
        unreachable = "the Hub cannot be reached, and the model is not in the local cache"
        raise UserError(
            f"Cannot load the model {name}: {first_line(error) if is_reachable else unreachable}.\n"
            + hub.WAYS_OUT.format(option="model.pretrained_model_name_or_path")
        ) from error


def _load_gguf(auto_class: Any, file: Path, name: str, **settings: Any) -> Any:
    if not file.is_file():
        raise _missing("file", file, name)
    try:
        return gguf_file.load(auto_class, file, **settings)
    except UserError:
        raise
    # its reader fails in any way
    except Exception as error:
        raise UserError(
            f"Cannot load {name}: {first_line(error)}.\n"
            "Transformers reads GGUF files of some architectures only; name the folder of the original weights instead."
        ) from error


def _missing(kind: str, path: Path, name: str) -> UserError:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return UserError(
        f"model.pretrained_model_name_or_path: there is no {kind} {name}.\n"
        f"{did_you_mean(path.name, siblings)}Relative paths start at {Path.cwd()}."
    )


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise _missing("folder", folder, name)
    for file in folder.iterdir():
        # a pointer in place of a vocabulary would be read as one
        if file.suffix in (".json", ".txt", ".model", ".spm") and file.is_file():
            check_fetched(file)
    if (adapter := folder / "adapter_config.json").is_file():
        base = re.search(r'"base_model_name_or_path":\s*"([^"]+)"', adapter.read_text(encoding="utf-8"))
        raise UserError(
            f"{name} is an adapter of peft, not a whole model; it was trained on {base[1] if base else 'another one'}.\n"
            "Name that model instead, or merge both: peft's merge_and_unload(), then save_pretrained(DIR)."
        )
    if (folder / EXPORTED_CODE).is_file():
        raise UserError(
            f"{name} is the export of a run, with a head that only its own code loads, for other programs.\n"
            "To go on from that run, name its folder: model.from_run=RUN"
        )
    if not (folder / "config.json").is_file():
        expected = "Expected a folder as save_pretrained writes it: config.json, model.safetensors and the tokenizer."
        if files := sorted(folder.glob("*.gguf")):
            expected = f"It holds GGUF files. Name one of them: model.pretrained_model_name_or_path={files[0]}"
        raise UserError(f"model.pretrained_model_name_or_path: {name} holds no config.json.\n{expected}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, with the error's type where the message alone says little."""
    if isinstance(error, LIBRARY_ERRORS):
        return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:300]
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
