"""If one of these tests fails, transformers has changed a private name that ``transformers_internals`` reads."""

import re
from pathlib import Path

import pytest
import transformers
from architectures import small
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
)

from lightune.models import transformers_internals


@pytest.mark.parametrize(
    ("auto_class", "public"),
    [
        (transformers.AutoModel, transformers.MODEL_MAPPING),
        (AutoModelForCausalLM, transformers.MODEL_FOR_CAUSAL_LM_MAPPING),
        (AutoModelForMaskedLM, transformers.MODEL_FOR_MASKED_LM_MAPPING),
        (AutoModelForSeq2SeqLM, transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING),
    ],
)
def test_auto_classes_know_the_architectures_of_the_public_mappings(auto_class: type, public: object):
    for name in ("bert", "gpt2", "t5", "bart", "modernbert", "qwen2"):
        config = AutoConfig.for_model(name)
        assert transformers_internals.has_model_class(auto_class, config) == (type(config) in public), name


def test_an_architecture_that_was_registered_is_known():
    class Config(GPT2Config):
        model_type = "registered"

    class Model(transformers.GPT2LMHeadModel):
        config_class = Config

    assert not transformers_internals.has_model_class(AutoModelForCausalLM, Config())
    AutoModelForCausalLM.register(Config, Model)
    assert transformers_internals.has_model_class(AutoModelForCausalLM, Config())


def test_the_attention_of_a_model_is_the_one_that_was_set():
    model = small("bert")
    assert transformers_internals.attention_implementation(model) == "sdpa"
    model.set_attn_implementation("eager")
    assert transformers_internals.attention_implementation(model) == "eager"


def test_no_other_module_reads_these_names():
    source = Path(transformers_internals.__file__).parent.parent
    readers = [
        file.name
        for file in source.rglob("*.py")
        if re.search(r"\._(model_mapping|attn_implementation|tokenizer)\b", file.read_text(encoding="utf-8"))
    ]
    assert readers == ["transformers_internals.py"]
