"""Translation and summarisation: read a source, write a target."""

from typing import Any

from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from lightune.common.errors import UserError
from lightune.common.special_tokens import end_token_id, start_token_id
from lightune.models.pretrained import PretrainedModel
from lightune.models.transformers_internals import has_model_class
from lightune.tasks.batch import Batch, inputs
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.generation import Generation


class Seq2Seq(Generation):
    """Fine-tune an encoder-decoder, or an encoder twice: to read, and to write with new cross-attention.

    Source of the latter: Rothe et al. (2020), Leveraging Pre-trained Checkpoints for Sequence Generation Tasks.
    """

    pipeline_tag = "text2text-generation"
    auto_class = AutoModelForSeq2SeqLM
    fitting_models = "model=t5_small, bart_base, marian_en_de, mbart50, or minilm, bert, roberta twice"

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        config = pretrained.load_config()
        if not has_model_class(cls.auto_class, config) and not _can_write(config):
            raise UserError(
                f"{pretrained.name} ({config.model_type}) does not fit this task: it does not read one text and write another.\n"
                f"Choose one that does: {cls.fitting_models}"
            )

    @staticmethod
    def load(pretrained: PretrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
        config = pretrained.load_config()
        if has_model_class(AutoModelForSeq2SeqLM, config):
            model = pretrained.load_model(AutoModelForSeq2SeqLM)
        else:
            encoder = pretrained.load_model(AutoModel)
            decoder = pretrained.load_model(AutoModelForCausalLM, is_decoder=True, add_cross_attention=True)
            model = EncoderDecoderModel(encoder=encoder, decoder=decoder)
            start, end = start_token_id(tokenizer), end_token_id(tokenizer)
            model.config.decoder_start_token_id = start
            model.config.pad_token_id = tokenizer.pad_token_id
            model.generation_config = GenerationConfig(
                decoder_start_token_id=start, eos_token_id=end, pad_token_id=tokenizer.pad_token_id
            )
        # DDP refuses weights that get no gradient: an unused pooler, and Marian's table of positions
        if model.config.model_type == "encoder-decoder" and hasattr(model.encoder, "pooler"):
            model.encoder.pooler = None
        for module in model.modules():
            if "Sinusoidal" in type(module).__name__:
                module.requires_grad_(False)
        return model

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (batch, target length, vocabulary) of each target token, by the source and the tokens before it."""
        targets = {"labels": batch["labels"]}
        # NLLB and M2M100 have no such method: they shift labels themselves
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            targets = {"decoder_input_ids": self.model.prepare_decoder_input_ids_from_labels(**targets)}
        logits: Tensor = self.model(**inputs(batch), **targets, use_cache=False).logits
        return logits

    def prompt(self, batch: Batch) -> dict[str, Tensor]:
        return inputs(batch)

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        texts = f"[{preprocessor.source_prefix + 'A text.'!r}]"
        options = "return_token_type_ids=False, "
        call = tokenizer_call(preprocessor, texts, tensors=tensors, options=options)
        return Usage(call, "print(tokenizer.batch_decode(written, skip_special_tokens=True))")


def _can_write(config: PreTrainedConfig) -> bool:
    """Say whether an encoder's architecture also has a decoder with attention to another encoder."""
    has_both = all(has_model_class(kind, config) for kind in (AutoModelForMaskedLM, AutoModelForCausalLM))
    return has_both and hasattr(config, "add_cross_attention") and not config.is_encoder_decoder
