import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from architectures import every_architecture
from conftest import save_tokenizer
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.data import TextClassificationPreprocessor
from lightune.data.preprocessors.lengths import check_length
from lightune.models.pretrained import PretrainedModel
from lightune.runs.inference import Predictor
from lightune.runs.load_run import rebuild

SIZES = {"vocab_size": 80, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZES, intermediate_size=64, max_position_embeddings=64),
    "roberta": lambda: transformers.RobertaConfig(**SIZES, intermediate_size=64, max_position_embeddings=64),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=80, n_embd=32, n_layer=2, n_head=2, n_positions=64),
    "qwen": lambda: transformers.Qwen2Config(**SIZES, intermediate_size=64, num_key_value_heads=1),
    "llama": lambda: transformers.LlamaConfig(**SIZES, intermediate_size=64, bos_token_id=2, eos_token_id=[3, 5]),
    "bart": lambda: transformers.BartConfig(
        vocab_size=80, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
    ),
    "xlnet": lambda: transformers.XLNetConfig(vocab_size=80, d_model=32, n_layer=2, n_head=2, d_inner=64),
}  # fmt: skip
# what a tokenizer says of padding
TOKENIZERS = {
    "as it is": {},
    "another token": {"pad_token": "[MASK]"},
    "no token": {"pad_token": None, "eos_token": "[SEP]"},
    "the end of text": {"pad_token": "[SEP]", "eos_token": "[SEP]"},
    "left": {"padding_side": "left"},
    "left, the end of text": {"padding_side": "left", "pad_token": None, "eos_token": "[SEP]"},
}


def save(folder: Path, config: Any, **tokenizer: Any) -> PretrainedModel:
    torch.manual_seed(0)
    save_tokenizer(folder)
    # large weights, so that what is read shows
    config.initializer_range = config.init_std = 0.5
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | tokenizer
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return PretrainedModel(pretrained_model_name_or_path=str(folder))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_logits_of_a_row_do_not_change_with_the_width_of_its_batch(tmp_path: Path, name: str, tokenizer: str):
    pretrained = save(tmp_path, CONFIGS[name](), **TOKENIZERS[tokenizer])
    model: Any = pretrained.load_model(AutoModelForSequenceClassification).eval()
    reader = pretrained.load_tokenizer()
    if name == "xlnet":
        # its tokenizer writes <cls> last
        reader.backend_tokenizer.post_processor = reader.backend_tokenizer.post_processor.__class__(
            single="$A [SEP] [CLS]", special_tokens=[("[SEP]", reader.sep_token_id), ("[CLS]", reader.cls_token_id)]
        )
    preprocessor = TextClassificationPreprocessor(
        tokenizer=reader,
        text_columns=["text"],
        label_column="label",
        label_names=None,
        max_length=40,
        truncation="head",
    )
    rows = Dataset.from_dict({"text": ["good film", "a fine story", "the plot is bad " * 8]})
    prepared = preprocessor.prepare(rows, split="test", labelled=False)
    columns = preprocessor(prepared[:], training=False)
    features = [{key: values[row] for key, values in columns.items()} for row in range(3)]

    def logits(*rows: dict[str, Any]) -> torch.Tensor:
        batch = preprocessor.collate(list(rows))
        names = ("input_ids", "attention_mask")
        with torch.no_grad():
            return model(**{key: batch[key] for key in names}).logits

    torch.testing.assert_close(logits(*features)[:2], torch.cat([logits(row) for row in features[:2]]))


def test_tokenizer_and_model_pad_with_one_token(tmp_path: Path):
    """As Qwen2.5-Instruct: its configuration names no padding token, and its tokenizer another than the end of text."""
    config = transformers.Qwen2Config(**SIZES, intermediate_size=64, num_key_value_heads=1, eos_token_id=3)
    pretrained = save(tmp_path, config, pad_token="[MASK]", eos_token="[SEP]")
    model = pretrained.load_model(AutoModelForSequenceClassification)
    assert pretrained.load_tokenizer().pad_token_id == model.config.pad_token_id == 4


def test_a_tokenizer_without_a_padding_token_takes_the_models(tmp_path: Path):
    pretrained = save(tmp_path, CONFIGS["bart"](), pad_token=None, eos_token="[SEP]")
    assert pretrained.load_tokenizer().pad_token == "[PAD]", "a head on the end of text would find too many ends"


def test_a_model_that_counts_positions_from_its_padding_token_keeps_it(tmp_path: Path):
    pretrained = save(tmp_path, CONFIGS["roberta"](), pad_token="[MASK]")
    model = pretrained.load_model(AutoModelForSequenceClassification)
    assert pretrained.load_tokenizer().pad_token_id == model.config.pad_token_id == 1


SILENT = {"model_max_length": None}
POSITIONS = {
    "bert": 64,
    # its first position is that after its padding token's id, 1
    "roberta": 62,
    "gpt2": 64,
    "bart": 64,
    # relative positions
    "xlnet": None,
    "mpnet": 62,
    "deberta": None,
    "t5": None,
}
OTHERS = {
    "mpnet": lambda: every_architecture()["mpnet"],
    "deberta": lambda: transformers.DebertaV2Config(
        **SIZES, intermediate_size=64, max_position_embeddings=64, relative_attention=True, position_biased_input=False
    ),
    "t5": lambda: every_architecture()["t5_small"],
}


@pytest.mark.parametrize("name", POSITIONS)
def test_a_tokenizer_that_does_not_say_its_longest_input_takes_the_models(tmp_path: Path, name: str):
    pretrained = save(tmp_path, (CONFIGS | OTHERS)[name](), **SILENT)
    tokenizer = pretrained.load_tokenizer()
    positions = POSITIONS[name]
    assert tokenizer.model_max_length == (positions or int(1e30))
    check_length(tokenizer, positions or 512)
    if positions is not None:
        with pytest.raises(UserError, match=f"reads from 3 to {positions} tokens"):
            check_length(tokenizer, positions + 1)
    else:
        with pytest.raises(UserError, match="reads 3 or more tokens"):
            check_length(tokenizer, 2)


@pytest.mark.parametrize("name", POSITIONS)
def test_a_text_of_the_longest_input_is_read(tmp_path: Path, name: str):
    pretrained = save(tmp_path, (CONFIGS | OTHERS)[name](), **SILENT)
    tokenizer = pretrained.load_tokenizer()
    encoded = tokenizer("film " * 200, truncation=True, max_length=POSITIONS[name] or 100, return_tensors="pt")
    model: Any = pretrained.load_model(AutoModelForSequenceClassification, num_labels=2).eval()
    names = ("input_ids", "attention_mask")
    assert model(**{key: encoded[key] for key in names}).logits.shape == (1, 2)


def test_a_tokenizer_that_says_more_than_the_model_reads_is_corrected(tmp_path: Path):
    assert save(tmp_path, CONFIGS["roberta"](), model_max_length=64).load_tokenizer().model_max_length == 62
    assert save(tmp_path / "less", CONFIGS["roberta"](), model_max_length=20).load_tokenizer().model_max_length == 20


def test_a_run_of_a_silent_tokenizer_predicts_for_long_texts(
    train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path
):
    save(tmp_path / "model", CONFIGS["roberta"](), **SILENT)
    settings = ("data=local", f"data.path={reviews}", "trainer.max_steps=1")
    model = f"model.pretrained_model_name_or_path={tmp_path / 'model'}"
    with pytest.raises(SystemExit) as refused:
        train_here(*settings, model, "data.max_length=256")
    assert "data.max_length=256: this model reads from 3 to 62 tokens" in str(refused.value.__cause__)
    train_here(*settings, model, "data.max_length=62")
    _, task, preprocessor = rebuild(tmp_path / "run")
    predictor = Predictor(task, preprocessor, precision="32-true")
    assert predictor.predict([["good film " * 500]])[0]["label"] in ("positive", "negative")


def test_a_model_that_cannot_be_made_is_told_of_with_its_weights(tmp_path: Path):
    pretrained = save(tmp_path, CONFIGS["bert"]())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": 5}))
    pretrained.load_tokenizer()
    with pytest.raises(UserError, match="not a multiple of the number of attention heads"):
        pretrained.load_model(AutoModelForSequenceClassification)
