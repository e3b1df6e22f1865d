"""A pretrained model by name: its tokenizer, its configuration, and its weights under the head that a task needs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightune.common import package_index
from lightune.common.bounds import Count, Share
from lightune.common.errors import UserError
from lightune.models.fewer_layers import keep_layers
from lightune.models.load_pretrained import first_line, load
from lightune.models.model_parts import ATTENTION_DROPOUT_NAMES, is_decoder_only
from lightune.models.transformers_internals import has_model_class
from lightune.models.weights import check_weights

# weights inside the body that a checkpoint may lack: the task learns them
HEAD_NAMES = re.compile("pooler|crossattention|qa_outputs|classif")
COMMIT = re.compile(r"[0-9a-f]{40}")


class PretrainedModel:
    """A pretrained model's name and options. Nothing is read before a ``load`` or ``check`` method is called.

    Args:
        pretrained_model_name_or_path: on the Hub, a local folder in its layout, or ``embedded:all-MiniLM-L6-v2``.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: whether Python code that comes with the model may run. ``revision`` must then be the commit
            whose code was read; a local folder is not compared with it.
        pooling: ``mean`` or ``cls``: a linear head on pooled hidden states replaces the model's own classification head.
        attention_dropout: overrides the model's own; at 0 torch can use its fast attention kernels.
        num_hidden_layers: the number of layers to keep, see ``lightune.models.fewer_layers.keep_layers``; None: all.
        state_dict: returns the weights, in place of those beside the configuration.
        load_weights: False builds the architecture alone, for a checkpoint to fill.

    Raises:
        UserError: code is to be trusted without a commit.
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
        if trust_remote_code and not COMMIT.fullmatch(revision or ""):
            raise UserError(
                f"model.trust_remote_code=true needs a commit, and model.revision={revision} is none: a branch or tag can move.\n"
                "Read the code that comes with the model, then name the commit that you read:\n"
                "model.trust_remote_code=true model.revision=COMMIT (40 digits of 0-9a-f)"
            )
        self.name = pretrained_model_name_or_path
        self.revision = revision
        # always explicit, as transformers would ask at the keyboard; the code may lie in another repository
        self._code: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        self._code |= {"code_revision": revision} if trust_remote_code else {}
        self.pooling = pooling
        self.attention_dropout = attention_dropout
        self.num_hidden_layers = num_hidden_layers
        self.state_dict = state_dict
        self.load_weights = load_weights

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer; one without a padding token pads with its end-of-text token.

        Raises:
            UserError: it cannot be loaded, cannot pad, or has more tokens than the model embeds.
        """
        tokenizer: PreTrainedTokenizerBase = self._load(AutoTokenizer)
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise UserError(
                f"{self.name}: its tokenizer knows no words: transformers found no tokenizer files.\n"
                "Expected tokenizer.json, or vocab.txt or the like, beside config.json."
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token is None:
            raise UserError(
                f"{self.name}: its tokenizer has no padding token, and no end-of-text token to use for it.\n"
                'Name one of its tokens in tokenizer_config.json, such as "pad_token": "[PAD]".'
            )
        largest = max(tokenizer.get_vocab().values())
        vocab_size = getattr(self._load(AutoConfig).get_text_config(), "vocab_size", None)
        if vocab_size is not None and largest >= vocab_size:
            raise UserError(
                f"{self.name}: its tokenizer does not fit the model: its token ids go up to {largest:,}, the model embeds "
                f"{vocab_size:,} tokens.\nPut the tokenizer that the model was trained with beside it."
            )
        return tokenizer

    def load_config(self, **head: Any) -> PreTrainedConfig:
        """Load the configuration alone (a small file), and add the head's settings; or raise a UserError."""
        config = self._load(AutoConfig, **head)
        if getattr(config, "pad_token_id", None) is None:
            end = getattr(config, "eos_token_id", None)
            config.pad_token_id = end[0] if isinstance(end, list) else end
        if self.attention_dropout is not None:
            for name in ATTENTION_DROPOUT_NAMES:
                if hasattr(config, name):
                    setattr(config, name, self.attention_dropout)
        return config

    def check_weights(self) -> None:
        """Raise a UserError for incomplete weights in a local folder."""
        folder = Path(package_index.resolve(self.name)).expanduser()
        if self.state_dict is None and folder.is_dir():
            check_weights(folder)

    def check(self, auto_class: Any, *, choose: str, bidirectional: bool = False) -> PreTrainedConfig:
        """Check by the configuration alone whether a task can load a model by its auto class.

        Raises:
            UserError: the architecture has no such head, or is decoder-only where the task needs a bidirectional one;
                names the models to choose.
        """
        config = self.load_config()
        own_classes = getattr(config, "auto_map", {}) if self._code["trust_remote_code"] else {}
        if auto_class.__name__ not in own_classes and not has_model_class(auto_class, config):
            reason = f"transformers has no {auto_class.__name__} for it"
        elif bidirectional and is_decoder_only(config):
            reason = "it reads from left to right, and this task needs the words after each word too"
        else:
            return config
        raise UserError(
            f"{self.name} ({config.model_type}) does not fit this task: {reason}.\nChoose one that fits: {choose}"
        )

    def load_model(self, auto_class: Any, **head: Any) -> PreTrainedModel:
        """Load the weights in float32 by an auto class, such as ``AutoModelForSequenceClassification``.

        Weights that the checkpoint lacks or has in another size are initialized: their parameters have the attribute
        ``is_new``. ``head`` holds the head's settings: ``num_labels``, ``id2label``, ``label2id``, ``problem_type``.

        Raises:
            UserError: the model cannot be loaded, its architecture has no such head, or its weights do not fit.
        """
        config = self.load_config(**head)
        if not self.load_weights:
            model = self._from_config(auto_class, config)
            self._load_generation_config(model)
            return model
        settings = {
            "config": config,
            "dtype": torch.float32,  # else a half-precision checkpoint would stay in half precision
            "ignore_mismatched_sizes": True,
            "output_loading_info": True,
        }
        if self.state_dict is None:
            model, info = self._load(auto_class, **settings)
        else:
            with torch.device("meta"):
                architecture = type(self._from_config(auto_class, config))
            model, info = architecture.from_pretrained(None, state_dict=self.state_dict(), **settings)
            self._load_generation_config(model)
        new = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
        self._check_body(model, new)
        if self.num_hidden_layers is not None:
            keep_layers(model, self.num_hidden_layers)
        for name, parameter in model.named_parameters():
            if name in new:
                setattr(parameter, "is_new", True)  # noqa: B010 - mypy knows no such attribute
        return model

    def _from_config(self, auto_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
        is_known = has_model_class(auto_class, config)
        code = {"trust_remote_code": self._code["trust_remote_code"]} if is_known else self._code
        return auto_class.from_config(config, dtype=torch.float32, **code)

    def _load_generation_config(self, model: PreTrainedModel) -> None:
        """Read the file that ``from_pretrained`` of a folder reads beside the weights."""
        if (Path(self.name) / "generation_config.json").is_file():
            try:
                model.generation_config = GenerationConfig.from_pretrained(self.name)
            except OSError as error:
                raise UserError(f"Cannot load {self.name}: {first_line(error)}") from error

    def _check_body(self, model: PreTrainedModel, new: set[str]) -> None:
        """Refuse weights that leave a part of the body random: transformers does not."""
        prefix = f"{model.base_model_prefix}."
        is_body = not any(name.startswith(prefix) for name, _ in model.named_parameters())
        in_body = {name for name in new if is_body or name.startswith(prefix)}
        if random := sorted(name for name in in_body if not HEAD_NAMES.search(name)):
            raise UserError(
                f"{self.name}: its weights do not fit its config.json: "
                f"{len(random)} of the model's own tensors would stay random, the first is {random[0]}.\n"
                "Save model and configuration together, with save_pretrained."
            )

    def _load(self, auto_class: Any, **settings: Any) -> Any:
        return load(auto_class, self.name, revision=self.revision, **self._code, **settings)
