"""A pretrained model by name: its tokenizer, its configuration, and its weights under the head that a task needs."""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    EncoderDecoderConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightune.common import package_index
from lightune.common.bounds import Count, Share
from lightune.common.errors import UserError
from lightune.models.gradient_checkpointing import recompute_layers
from lightune.models.heads import POOLINGS
from lightune.models.label_rows import fill_head, keep_rows, output_layer
from lightune.models.layers import keep_layers, reinit_layers
from lightune.models.load_pretrained import first_line, load
from lightune.models.model_parts import is_decoder_only, set_dropout, transformer_layers
from lightune.models.model_with_head import HEAD, MakeHead, ModelWithHead
from lightune.models.tokenizer import fit_to_model
from lightune.models.transformers_internals import has_model_class
from lightune.models.weights import check_body, check_weights

# weights and classes of classification heads
TRAINED_HEAD = re.compile(rf"{HEAD}|classif|score|logits_proj|sequence_summary|\w+For(Sequence|Token)Classification")

log = logging.getLogger(__name__)


class PretrainedModel:
    """A pretrained model's name and options. Nothing is read before a ``load`` or ``check`` method is called.

    Args:
        pretrained_model_name_or_path: on the Hub, a local folder in its layout, a GGUF file, or ``embedded:NAME``.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: whether Python code that comes with the model may run. ``revision`` must then be the commit
            whose code was read; a local folder is not compared with it.
        pooling: ``mean`` or ``cls``: a linear head on pooled hidden states replaces the model's own for texts.
        make_head: makes another head for texts or tokens, see ``lightune.models.model_with_head``; ``pooling`` is not read.
        attention_dropout: overrides the model's own; at 0 torch can use its fast attention kernels.
        hidden_dropout: overrides the model's own, of hidden states and embeddings.
        num_hidden_layers: the number of layers to keep, see ``lightune.models.layers.keep_layers``; None: all.
        reinit_layers: the number of layers at the top that start from new weights, of an encoder-decoder the encoder's.
        gradient_checkpointing: computes each layer again in the backward pass, in place of keeping what it computed;
            ``offload`` also keeps the layers' inputs in the host's memory.
        compile: compiles each transformer layer when it is first used; names of weights stay.
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
        make_head: MakeHead | None = None,
        attention_dropout: Share | None = 0.0,
        hidden_dropout: Share | None = None,
        num_hidden_layers: Count | None = None,
        reinit_layers: Count | None = None,
        gradient_checkpointing: bool | Literal["offload"] = False,
        compile: bool = False,  # noqa: A002 - torch's name
        state_dict: Callable[[], dict[str, Tensor]] | None = None,
        load_weights: bool = True,
    ) -> None:
        if trust_remote_code and not re.fullmatch("[0-9a-f]{40}", revision or ""):
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
        self.make_head = make_head
        self.attention_dropout = attention_dropout
        self.hidden_dropout = hidden_dropout
        self.num_hidden_layers = num_hidden_layers
        self.reinit_layers = reinit_layers
        self.gradient_checkpointing = gradient_checkpointing
        self.compile = compile
        self.state_dict = state_dict
        self.load_weights = load_weights
        # the weights of another size in the last model that was loaded: those of its head
        self._resized: set[str] = set()
        # known once the tokenizer is
        self._pad_token_id: int | None = None

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer, as ``tokenizer.fit_to_model`` makes it agree with the model; or raise a UserError."""
        tokenizer: PreTrainedTokenizerBase = self._load(AutoTokenizer)
        config, model = self._load(AutoConfig), None
        # if the architecture cannot be made, loading its weights says why
        with suppress(Exception):
            model = self._on_meta(AutoModel, config.encoder if isinstance(config, EncoderDecoderConfig) else config)
        self._pad_token_id = fit_to_model(tokenizer, config, model, name=self.name)
        return tokenizer

    def load_config(self, **head: Any) -> PreTrainedConfig:
        """Load the configuration alone (a small file), and add the head's settings; or raise a UserError."""
        config = self._load(AutoConfig, **head)
        set_dropout(config, attention=self.attention_dropout, hidden=self.hidden_dropout)
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
        elif auto_class is AutoModel and config.is_encoder_decoder:
            reason = "task.head and model.pooling read an encoder's states, and it has a decoder too"
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
        # a head on the last token finds it by the padding token; a folder without a tokenizer keeps the model's
        with suppress(UserError):
            if self._pad_token_id is None:
                self.load_tokenizer()
            config.pad_token_id = config.get_text_config().pad_token_id = self._pad_token_id
        model = self._load_weights(auto_class, config) if self.load_weights else self._from_config(auto_class, config)
        if self.load_weights and "id2label" in head and (found := output_layer(model)):
            name, layer = found
            # a head of the same size was loaded as it is
            own = self.load_model(auto_class).get_submodule(name) if f"{name}.weight" in self._resized else layer
            self._keep_rows(layer, {} if hasattr(own.weight, "is_new") else own.state_dict(), config)
        if self.state_dict is not None or not self.load_weights:
            self._load_generation_config(model)
        for name, parameter in model.named_parameters():
            if name.endswith("mask_emb"):
                # XLNet's hidden word: no task here has one, and DDP refuses weights without a gradient
                parameter.requires_grad_(False)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.pad_token_id = config.pad_token_id
        if self.gradient_checkpointing:
            recompute_layers(model, offload=self.gradient_checkpointing == "offload")
        # all layers share their code: the whole model would take as many times as long to compile
        for block in transformer_layers(model) if self.compile else ():
            block.compile()
        return model

    def _load_weights(self, auto_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
        settings = {
            "config": config,
            "dtype": torch.float32,  # else a half-precision checkpoint would stay in half precision
            "ignore_mismatched_sizes": True,
            "output_loading_info": True,
        }
        if self.state_dict is None:
            model, info = self._load(auto_class, **settings)
        else:
            architecture = type(self._on_meta(auto_class, config))
            state = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(HEAD)}
            model, info = architecture.from_pretrained(None, state_dict=state, **settings)
        self._resized = {name for name, *_ in info["mismatched_keys"]}
        new = self._resized.union(info["missing_keys"])
        check_body(model, new, name=self.name)
        if self.num_hidden_layers is not None:
            keep_layers(model, self.num_hidden_layers)
        if self.reinit_layers is not None:
            new |= reinit_layers(model, self.reinit_layers)
        for name, parameter in model.named_parameters():
            if name in new:
                setattr(parameter, "is_new", True)  # noqa: B010 - mypy knows no such attribute
        return model

    def head_for(self, auto_class: Any) -> MakeHead | None:
        """Return what makes the head in place of an auto class's own; ``pooling`` is for texts."""
        is_pooled = self.pooling is not None and "Sequence" in auto_class.__name__
        return self.make_head or (POOLINGS[str(self.pooling)] if is_pooled else None)

    def load_classifier(self, auto_class: Any, **head: Any) -> ModelWithHead | PreTrainedModel:
        """Load the weights as ``load_model`` does, under another head where ``make_head`` or ``pooling`` asks for one."""
        if (make := self.head_for(auto_class)) is None:
            return self.load_model(auto_class, **head)
        encoder = self.load_model(AutoModel, **head)
        if make in POOLINGS.values():
            make = partial(make, dropout=getattr(encoder.config, "hidden_dropout_prob", 0.1))
        model = ModelWithHead(encoder, make, of_tokens="Token" in auto_class.__name__)
        if self.load_weights:
            self._keep_rows(*fill_head(model, self.state_dict() if self.state_dict else {}), model.config)
        return model

    def _keep_rows(self, layer: nn.Linear, trained: dict[str, Tensor], config: PreTrainedConfig) -> None:
        """Keep what a head was trained on, or say that it is new though there is one of another kind."""
        own = self._load(AutoConfig)
        if trained:
            old, new = ([str(c.id2label[index]) for index in range(c.num_labels)] for c in (own, config))
            keep_rows(layer, trained, old=old, new=new, name=self.name)
        elif any(map(TRAINED_HEAD.match, self.state_dict() if self.state_dict else own.architectures or [])):
            reads = "states otherwise (task.head)" if self.make_head else "other states (model.pooling)"
            rank_zero_only(log.warning)(f"The head of {self.name} is new: its own reads {reads}")

    def _from_config(self, auto_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
        is_known = has_model_class(auto_class, config)
        code = {"trust_remote_code": self._code["trust_remote_code"]} if is_known else self._code
        return auto_class.from_config(config, dtype=torch.float32, **code)

    def _on_meta(self, auto_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
        with torch.device("meta"):
            return self._from_config(auto_class, config)

    def _load_generation_config(self, model: PreTrainedModel) -> None:
        """Read the file that ``from_pretrained`` of a folder reads beside the weights."""
        if (Path(self.name) / "generation_config.json").is_file():
            try:
                model.generation_config = GenerationConfig.from_pretrained(self.name)
            except OSError as error:
                raise UserError(f"Cannot load {self.name}: {first_line(error)}") from error

    def _load(self, auto_class: Any, **settings: Any) -> Any:
        return load(auto_class, self.name, revision=self.revision, **self._code, **settings)
