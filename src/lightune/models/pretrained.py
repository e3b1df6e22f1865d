"""A pretrained model by name: its tokenizer, and its weights under the head that a task asks for."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightune.common import hub, package_index
from lightune.common.bounds import Count, Share
from lightune.common.errors import UserError, did_you_mean
from lightune.models.fewer_layers import keep_layers
from lightune.models.parts import ATTENTION_DROPOUT_NAMES, is_decoder_only
from lightune.models.weights import check_weights, unsafe_pickle_message

HEAD_WEIGHTS = re.compile("pooler|crossattention|qa_outputs|classif")
"""Weights that a checkpoint may lack though they stand beside the body: they are for the task to learn."""

COMMIT = re.compile(r"[0-9a-f]{40}")

LIBRARY_ERRORS = (OSError, ValueError, RuntimeError, EOFError, SafetensorError)
"""What the libraries raise with words of their own; anything else says little without its name."""

FILES = {"AutoConfig": "config.json", "AutoTokenizer": "tokenizer.json and tokenizer_config.json"}


class PretrainedModel:
    """Where θ comes from.

    Args:
        pretrained_model_name_or_path: a name on the Hub, a local folder in the Hub's layout, or
            ``embedded:all-MiniLM-L6-v2``.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: whether Python code that comes with the model may run. ``revision`` must be the commit
            that was read then; for a local folder that is a record, nothing is compared with it.
        pooling: ``mean`` or ``cls`` puts a plain head on the pooled hidden states in place of the model's own
            classification head.
        attention_dropout: overrides the model's own; at 0 torch can use its fast attention kernels.
        num_hidden_layers: keeps so many of the layers, see ``lightune.models.fewer_layers.keep_layers``; None: all.
        state_dict: returns the weights, in place of those beside the configuration.
        load_weights: False builds the architecture alone, for a checkpoint to fill.

    Raises:
        UserError: code is to be trusted whatever it becomes.
    """

    def __init__(
        self,
        *,
        pretrained_model_name_or_path: str,
        revision: str | None = None,
        trust_remote_code: bool = False,
        pooling: Literal["mean", "cls"] | None = None,
        attention_dropout: Share | None = None,
        num_hidden_layers: Count | None = None,
        state_dict: Callable[[], dict[str, Tensor]] | None = None,
        load_weights: bool = True,
    ) -> None:
        self.name = pretrained_model_name_or_path
        self.revision = revision
        if trust_remote_code and not COMMIT.fullmatch(revision or ""):
            raise UserError(
                f"model.trust_remote_code=true needs a commit, and model.revision={revision} is none: a branch or tag can move.\n"
                "Read the code that comes with the model, then name the commit that you read:\n"
                "model.trust_remote_code=true model.revision=COMMIT (40 digits of 0-9a-f)"
            )
        # explicit, because transformers asks at the keyboard where nothing is said
        self._code: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if trust_remote_code:
            self._code["code_revision"] = revision  # of code that lies in another repository too
        self.pooling = pooling
        self.attention_dropout = attention_dropout
        self.num_hidden_layers = num_hidden_layers
        self.state_dict = state_dict
        self.load_weights = load_weights

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer; one that cannot pad does so with its end-of-text token.

        Raises:
            UserError: nothing by this name can be reached, it cannot pad, or it knows more tokens than the model.
        """
        tokenizer = self._load(AutoTokenizer)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._check_tokenizer(tokenizer)
        return tokenizer

    def _check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise UserError(
                f"{self.name}: its tokenizer knows no words: transformers found no files of one.\n"
                "Expected tokenizer.json, or vocab.txt or the like, beside config.json."
            )
        if tokenizer.pad_token is None:
            raise UserError(
                f"{self.name}: its tokenizer has no padding token, and no end-of-text token to take for it.\n"
                'Name one of its tokens in tokenizer_config.json, such as "pad_token": "[PAD]".'
            )
        largest = max(tokenizer.get_vocab().values())
        rows = getattr(self._load(AutoConfig).get_text_config(), "vocab_size", None)
        if rows is not None and largest >= rows:
            raise UserError(
                f"{self.name}: its tokenizer does not fit the model: its token ids go to {largest:,}, the model embeds "
                f"{rows:,} tokens.\nPut the tokenizer beside it that it was trained with."
            )

    def check_weights(self) -> None:
        """Look whether the weights are there and whole, where they lie in a local folder.

        Raises:
            UserError: they are not.
        """
        folder = Path(package_index.resolve(self.name)).expanduser()
        if self.state_dict is None and folder.is_dir():
            check_weights(folder)

    def load_config(self, **head: Any) -> PreTrainedConfig:
        """Load the configuration alone (a small file), with the head's settings in it.

        Raises:
            UserError: nothing by this name can be reached.
        """
        config = self._load(AutoConfig, **head)
        if getattr(config, "pad_token_id", None) is None:
            end = getattr(config, "eos_token_id", None)  # some models have several
            config.pad_token_id = end[0] if isinstance(end, list) else end
        if self.attention_dropout is not None:
            for name in ATTENTION_DROPOUT_NAMES:
                if hasattr(config, name):
                    setattr(config, name, self.attention_dropout)
        return config

    def check(self, auto_class: Any, *, choose: str, bidirectional: bool = False) -> PreTrainedConfig:
        """Refuse a model that a task cannot use, by its configuration alone.

        Args:
            auto_class: how the task loads it, such as ``AutoModelForTokenClassification``.
            choose: models that would fit, for the message.
            bidirectional: whether each token must see those after it.

        Raises:
            UserError: this architecture has no such head, or reads from left to right only.
        """
        config = self.load_config()
        reason = None
        brings_it = self._code["trust_remote_code"] and auto_class.__name__ in getattr(config, "auto_map", {})
        if type(config) not in auto_class._model_mapping and not brings_it:
            reason = f"transformers has no {auto_class.__name__} for it"
        elif bidirectional and is_decoder_only(config):
            reason = "it reads from left to right, and this task needs what comes after a word too"
        if reason is not None:
            raise UserError(
                f"{self.name} ({config.model_type}) does not fit this task: {reason}.\n"
                f"Choose one that fits: {choose}"
            )
        return config

    def load_model(self, auto_class: Any, **head: Any) -> PreTrainedModel:
        """Load the weights as ``auto_class`` makes them, in float32, with a new head where it has none that fits.

        Args:
            auto_class: such as ``AutoModelForSequenceClassification``.
            head: what the head must be: ``num_labels``, ``id2label``, ``label2id``, ``problem_type``.

        Raises:
            UserError: nothing by this name can be reached, this architecture has no such head, or its weights do not fit.
        """
        config = self.load_config(**head)
        if not self.load_weights:
            model = self._from_config(auto_class, config)
            self._restore_generation_config(model)
            return model
        settings = {
            "config": config,
            "dtype": torch.float32,  # transformers would keep a half-precision checkpoint in half precision
            "ignore_mismatched_sizes": True,  # a head of another size is made anew
            "output_loading_info": True,
        }
        if self.state_dict is not None:
            if type(config) not in auto_class._model_mapping:
                self._from_config(auto_class, config)  # registers the class that came with the model
            kinds = auto_class._model_mapping[type(config)]
            model_class = kinds[0] if isinstance(kinds, tuple) else kinds
            model, loaded = model_class.from_pretrained(None, state_dict=self.state_dict(), **settings)
            self._restore_generation_config(model)
        else:
            model, loaded = self._load(auto_class, **settings)
        not_loaded = [*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])]
        self._check_body(model, not_loaded)
        if self.num_hidden_layers is not None:
            keep_layers(model, self.num_hidden_layers)
        for name, parameter in model.named_parameters():
            if name in not_loaded:
                setattr(parameter, "is_new", True)  # noqa: B010 - for head_parameters, whatever the model becomes a part of
        return model

    def _from_config(self, auto_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
        is_known = type(config) in auto_class._model_mapping
        code = {"trust_remote_code": self._code["trust_remote_code"]} if is_known else self._code
        return auto_class.from_config(config, dtype=torch.float32, **code)

    def _restore_generation_config(self, model: PreTrainedModel) -> None:
        """Read from a run's folder what ``from_pretrained`` reads of itself."""
        if (Path(self.name) / "generation_config.json").is_file():
            try:
                model.generation_config = GenerationConfig.from_pretrained(self.name)
            except OSError as error:
                raise UserError(f"Cannot load {self.name}: {_first_line(error)}") from error

    def _check_body(self, model: PreTrainedModel, not_loaded: list[str]) -> None:
        """Refuse a checkpoint that leaves more than the head random: transformers goes on silently."""
        prefix = f"{model.base_model_prefix}."
        body_only = not any(name.startswith(prefix) for name, _ in model.named_parameters())
        body = [
            name
            for name in not_loaded
            if (body_only or name.startswith(prefix)) and not HEAD_WEIGHTS.search(name)
        ]
        if body:
            raise UserError(
                f"{self.name}: its weights do not fit its config.json: "
                f"{len(body)} of the model's own tensors would stay random, the first is {body[0]}.\n"
                "Save model and configuration together, with save_pretrained."
            )

    def _load(self, auto_class: Any, **kwargs: Any) -> Any:
        name = self.name
        source = package_index.resolve(name)
        folder = Path(source).expanduser()
        local = folder.is_dir()
        if not local and (folder.is_absolute() or source.startswith((".", "~"))):
            beside = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise UserError(
                f"model.pretrained_model_name_or_path: there is no folder {name}.\n"
                f"{did_you_mean(folder.name, beside)}Relative paths start at {Path.cwd()}."
            )
        if local and not (folder / "config.json").is_file():
            raise UserError(
                f"model.pretrained_model_name_or_path: {name} holds no config.json.\n"
                "Expected a folder as save_pretrained writes it: config.json, model.safetensors and the tokenizer."
            )
        online = local or hub.use_hub_or_cache()
        try:
            return auto_class.from_pretrained(
                str(folder) if local else source, revision=self.revision, **self._code, **kwargs
            )
        except pickle.UnpicklingError as error:
            raise UserError(unsafe_pickle_message(f"{name}: pytorch_model.bin", error)) from error
        except Exception as error:  # of files that are no model's, in any way
            if self._code["trust_remote_code"] and not isinstance(error, LIBRARY_ERRORS):
                raise  # a bug of the code that came with the model
            if "trust_remote_code" in str(error):
                raise UserError(
                    f"{name} brings Python code of its own, which is not run unless you say so. Nothing was run.\n"
                    "Choose another model; or read that code, and name the commit that you read:\n"
                    "model.trust_remote_code=true model.revision=COMMIT (40 digits of 0-9a-f)"
                ) from error
            if local:
                files = FILES.get(auto_class.__name__, "config.json and model.safetensors")
                raise UserError(
                    f"Cannot load {files} of {name}: {_first_line(error)}.\n"
                    "Expected them as save_pretrained writes them: copy the folder anew, or name another model."
                ) from error
            reason = (
                _first_line(error)
                if online
                else "the Hub cannot be reached, and it is not in the local cache"
            )
            raise UserError(
                f"Cannot load the model {name}: {reason}.\n"
                + hub.WAYS_OUT.format(option="model.pretrained_model_name_or_path")
            ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, LIBRARY_ERRORS):
        return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:300]
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
