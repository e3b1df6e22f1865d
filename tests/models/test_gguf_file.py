"""Models in llama.cpp's format: a tiny Llama, written here as llama.cpp writes one."""

import json
import sys
from pathlib import Path

import gguf
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel

TEXT = ["How is the film?", "The film is a fine film\n\n1. with  2026 reasons"]
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|end|>' }}{% endfor %}"


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    """Byte-level BPE that splits numbers into digits, as SmolLM's does."""
    backend = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(TEXT * 9, trainer)
    return backend


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, llama: LlamaForCausalLM, bpe: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.F16.gguf"
    return write(path, llama, bpe)


def write(path: Path, llama: LlamaForCausalLM, bpe: Tokenizer, *, architecture: str = "llama") -> Path:
    config, writer = llama.config, gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = [bpe.id_to_token(index) for index in range(bpe.get_vocab_size())]
    tokens += [f"[PAD{index}]" for index in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token == "<|end|>" else gguf.TokenType.NORMAL for token in tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in llama.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = tensor.half().numpy()
        if (count := heads.get(name.split(".")[-2])) is not None:
            # llama.cpp rotates neighbours, transformers halves
            array = array.reshape(count, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), array if array.ndim > 1 else array.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_its_logits_are_those_of_the_model_that_was_written(file: Path, llama: LlamaForCausalLM):
    loaded = PretrainedModel(pretrained_model_name_or_path=str(file)).load_model(AutoModelForCausalLM).eval()
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, llama(ids).logits, atol=1e-3)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert not [name for name, parameter in loaded.named_parameters() if hasattr(parameter, "is_new")]


def test_its_tokenizer_splits_text_as_the_one_that_was_written(file: Path, bpe: Tokenizer, tmp_path: Path):
    tokenizer = PretrainedModel(pretrained_model_name_or_path=str(file)).load_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    for text in TEXT:
        assert tokenizer(text)["input_ids"] == bpe.encode(text).ids
        assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == bpe.encode(text).ids
    assert tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "user: a<|end|>"


def test_a_tokenizer_beside_it_is_not_read(file: Path, tiny_bert: Path, tmp_path: Path):
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    (tmp_path / "m.gguf").write_bytes(file.read_bytes())
    one, other = (PretrainedModel(pretrained_model_name_or_path=str(path)) for path in (file, tmp_path / "m.gguf"))
    assert one.load_tokenizer().get_vocab() == other.load_tokenizer().get_vocab()


def test_a_head_is_new_on_its_body_and_has_its_labels(file: Path):
    labels = {"num_labels": 3, "id2label": dict(enumerate("abc")), "label2id": {"a": 0, "b": 1, "c": 2}}
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(file))
    model = pretrained.load_model(AutoModelForSequenceClassification, **labels)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert [name for name, parameter in model.named_parameters() if hasattr(parameter, "is_new")] == ["score.weight"]
    # the next configuration is the file's own again
    assert pretrained.load_config().num_labels == 2


def test_a_run_on_it_needs_the_file_no_more(train_here, file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "m.gguf").write_bytes(file.read_bytes())
    turns = [{"role": "user", "content": TEXT[0]}, {"role": "assistant", "content": TEXT[1]}]
    (tmp_path / "data.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 24)
    train_here(
        "task=dialogue", "data=local", f"data.path={tmp_path}/data.jsonl", "data.batch_size=8",
        f"model.pretrained_model_name_or_path={tmp_path}/m.gguf", "task.generation.max_new_tokens=4",
        "trainer.max_epochs=1",
    )  # fmt: skip
    assert "GGUF" not in capfd.readouterr().err
    (tmp_path / "m.gguf").unlink()
    cli.main(["evaluate", str(tmp_path / "run")])
    cli.main(["predict", str(tmp_path / "run"), "--text", "How is it?"])
    cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "exported")])
    assert "quantization_config" not in (tmp_path / "exported" / "config.json").read_text()


@pytest.mark.parametrize("kept", [2, 200, 4_000, -100])
def test_a_file_that_was_cut_off_is_refused(file: Path, tmp_path: Path, kept: int):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"(?s)cut\.gguf.*(cut off|is not a GGUF file)"):
        PretrainedModel(pretrained_model_name_or_path=str(cut)).load_config()


def test_an_architecture_that_transformers_does_not_read_is_refused(
    llama: LlamaForCausalLM, bpe: Tokenizer, tmp_path: Path
):
    other = write(tmp_path / "other.gguf", llama, bpe, architecture="wavtokenizer-dec")
    with pytest.raises(UserError, match="(?s)wavtokenizer-dec is not supported.*original weights") as error:
        PretrainedModel(pretrained_model_name_or_path=str(other)).load_config()
    assert str(error.value).count("\n") < 5


def test_a_missing_file_a_folder_of_files_and_a_missing_package_are_answered(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UserError, match=r"there is no file .*tiny\.F32\.gguf\.\nDid you mean 'tiny.F16.gguf'"):
        PretrainedModel(pretrained_model_name_or_path=str(file.with_name("tiny.F32.gguf"))).load_config()
    with pytest.raises(UserError, match=r"Name one of them: .*tiny\.F16\.gguf"):
        PretrainedModel(pretrained_model_name_or_path=str(file.parent)).load_config()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match="pip install gguf"):
        PretrainedModel(pretrained_model_name_or_path=str(file)).load_config()
