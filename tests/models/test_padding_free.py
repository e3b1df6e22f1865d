"""Packed batches give the results of padded ones. torch's kernel needs a GPU: here its definition replaces it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conftest import by_row
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DynamicCache,
)

from lightune.commands import cli
from lightune.models import padding_free
from lightune.models.heads import POOLINGS
from lightune.models.model_with_head import ModelWithHead
from lightune.tasks import MaskedLM, QuestionAnswering, TokenClassification
from lightune.tasks.criterion import Criterion

PACKED = sorted(padding_free.POSITIONS_FROM_ZERO | padding_free.POSITIONS_AFTER_PAD)
HEADS = [
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForQuestionAnswering,
    AutoModelForMaskedLM,
]
DECODERS = [
    ("gpt2", {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}),
    ("llama", {}),
    ("mistral", {"sliding_window": 4}),
    ("qwen2", {}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    ("qwen3", {"head_dim": 16}),
]
LAYERS, PAD = 2, 1


def tiny(auto_class: Any, model_type: str, **settings: Any) -> Any:
    """A random model without dropout, in float64 so that rounding makes no difference."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        **{
            "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
            "intermediate_size": 64, "embedding_size": 16, "max_position_embeddings": 40, "pad_token_id": PAD,
            "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "num_labels": 2,
            "hidden_dropout_prob": 0.0, "dropout": 0.0, "attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0,
            "seq_classif_dropout": 0.0, "qa_dropout": 0.0, "classifier_dropout_prob": 0.0,
            "local_attention": 4, "initializer_range": 0.3, **settings,
        },
    )  # fmt: skip
    return auto_class.from_config(config).double().train()


def batch(*lengths: int, pad_left: bool = False) -> dict[str, Tensor]:
    """Rows with these numbers of real tokens."""
    ids = torch.randint(5, 50, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(0))
    place = torch.arange(max(lengths)).expand(ids.shape)
    mask = (place < torch.tensor(lengths)[:, None]).long()
    mask = mask.flip(1) if pad_left else mask
    return {"input_ids": ids.where(mask == 1, PAD), "attention_mask": mask}


def step(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Return the logits where tokens are real, and the gradient of every weight."""
    output = model(**inputs)
    if "start_logits" in output:
        logits = torch.stack([output.start_logits, output.end_logits], dim=-1)
    else:
        logits = output.logits
    if logits.shape[:2] == inputs["input_ids"].shape:
        logits = logits[inputs["attention_mask"] == 1]
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    model.zero_grad()
    (logits * weights).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


def assert_same(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Packing changes neither logits nor gradients."""
    logits, gradients = step(model, inputs)
    padding_free.remove_padding(model)
    packed_logits, packed_gradients = step(model, inputs)
    torch.testing.assert_close(packed_logits, logits, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients.items():
        packed = packed_gradients[name]
        assert (packed is None) == (gradient is None), name  # DDP refuses a weight that gets none
        assert packed is None or torch.allclose(packed, gradient, rtol=1e-6, atol=1e-7), name


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", PACKED)
def test_logits_and_gradients_equal_those_of_padded_batches(kernel: list[int], model_type: str, auto_class):
    inputs = batch(5, 12, 1, 9)
    assert_same(tiny(auto_class, model_type), inputs)
    assert kernel == [27] * LAYERS


def decoder(model_type: str, settings: dict[str, Any], auto_class: Any = AutoModelForCausalLM) -> Any:
    """A random decoder whose four heads share two key heads, where the architecture has such."""
    grouped = {} if model_type == "gpt2" else {"num_key_value_heads": 2}
    return tiny(auto_class, model_type, num_attention_heads=4, **grouped, **settings)


@pytest.mark.parametrize(("model_type", "settings"), DECODERS)
def test_decoders_write_no_cache_and_are_packed(kernel: list[int], model_type: str, settings: dict[str, Any]):
    inputs = batch(5, 12, 1, 9)
    assert_same(decoder(model_type, settings), {**inputs, "use_cache": False})
    assert kernel == [27] * LAYERS


@pytest.mark.parametrize(("model_type", "settings"), DECODERS[:2])
def test_the_loss_of_a_packed_decoder_is_that_of_a_padded_one_in_float32(
    kernel: list[int], model_type: str, settings: dict[str, Any]
):
    model, inputs = decoder(model_type, settings).float(), batch(5, 12, 1, 9)
    inputs["labels"] = inputs["input_ids"].where(inputs["attention_mask"] == 1, -100)

    def run() -> list[Tensor]:
        model.zero_grad()
        output = model(**inputs, use_cache=False)
        output.loss.backward()
        real = output.logits[inputs["attention_mask"] == 1]
        return [real.detach(), output.loss.detach(), *(p.grad for p in model.parameters())]

    padded = run()
    padding_free.remove_padding(model)
    torch.testing.assert_close(run(), padded, atol=1e-5, rtol=1e-5)
    assert kernel == [27] * LAYERS


@pytest.mark.parametrize("auto_class", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_classifiers_on_decoders_are_packed_in_training(kernel: list[int], auto_class: Any):
    model = decoder("qwen2", {"classifier_dropout": 0.0}, auto_class)
    assert_same(model, batch(5, 12, 1, 9))
    assert kernel == [27] * LAYERS


@pytest.mark.parametrize("pad_left", [True, False])
@pytest.mark.parametrize(("model_type", "settings"), DECODERS)
def test_decoders_that_write_stay_padded(kernel: list[int], model_type: str, settings: dict[str, Any], pad_left: bool):
    model, inputs = decoder(model_type, settings).eval(), batch(5, 12, pad_left=pad_left)
    written = model.generate(**inputs, do_sample=False, max_new_tokens=4)
    cache = model(**inputs).past_key_values
    assert cache.get_seq_length() == 12
    padding_free.remove_padding(model)
    assert torch.equal(model.generate(**inputs, do_sample=False, max_new_tokens=4), written)
    for asked in ({}, {"use_cache": True}, {"past_key_values": DynamicCache(config=model.config)}):
        found = model(**inputs, **asked).past_key_values
        torch.testing.assert_close(found.layers[0].keys, cache.layers[0].keys)
    assert not kernel


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_token_types_are_packed(kernel: list[int], model_type: str):
    inputs = batch(5, 12)
    inputs["token_type_ids"] = (torch.arange(12).expand(2, 12) > 3).long()
    assert_same(tiny(AutoModelForTokenClassification, model_type, type_vocab_size=2), inputs)
    assert kernel == [17] * LAYERS


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooled_classifiers_are_packed(kernel: list[int], pooling: str):
    assert_same(ModelWithHead(tiny(AutoModel, "bert"), POOLINGS[pooling]).double().eval(), batch(5, 12, 1))
    assert kernel == [18] * LAYERS


def test_no_layer_sees_padding(kernel: list[int]):
    model, seen = tiny(AutoModelForTokenClassification, "bert"), []
    padding_free.remove_padding(model)
    for module in [model.bert.embeddings, *model.bert.encoder.layer]:
        module.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    output = model(**batch(5, 12, 1))
    assert seen == [(1, 18, 32)] * (LAYERS + 1)
    assert output.logits.shape == (3, 12, 2)


def test_rows_of_equal_length(kernel: list[int]):
    assert_same(tiny(AutoModelForSequenceClassification, "bert"), batch(7, 7))
    assert kernel == [14] * LAYERS


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_batches_padded_on_the_left_stay_padded(kernel: list[int], model_type: str, auto_class):
    assert_same(tiny(auto_class, model_type), batch(5, 12, 9, pad_left=True))
    assert not kernel


def test_evaluation_is_packed_too(kernel: list[int]):
    model = tiny(AutoModelForSequenceClassification, "bert").eval()
    with torch.inference_mode():
        logits = model(**batch(5, 12)).logits
        padding_free.remove_padding(model)
        torch.testing.assert_close(model(**batch(5, 12)).logits, logits)
    assert kernel == [17] * LAYERS


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2"])
def test_gradient_checkpointing_recomputes_packed_layers(kernel: list[int], model_type: str):
    settings = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "classifier_dropout": 0.0}
    model = tiny(AutoModelForTokenClassification, model_type, **settings)
    model.gradient_checkpointing_enable()
    assert_same(model, batch(5, 12))
    assert kernel == [17] * 2 * LAYERS


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("deberta-v2", {"relative_attention": True}),
        ("nomic_bert", {}),  # its attention is sdpa, and rotary positions and pooling are its own
        ("bert", {"attention_probs_dropout_prob": 0.1}),
        ("bert", {"is_decoder": True}),
        ("distilbert", {"hidden_size": 24}),  # heads of 12
        ("bert", {"attn_implementation": "eager"}),
    ],
)
def test_unsupported_models_stay_padded(kernel: list[int], model_type: str, settings: dict):
    model = tiny(AutoModelForSequenceClassification, model_type, **settings).eval()
    assert_same(model, batch(5, 12, 1))
    assert not kernel


@pytest.mark.parametrize("asked", ["inputs_embeds", "output_hidden_states", "position_ids", "pairs_of_tokens"])
def test_unsupported_calls_stay_padded(kernel: list[int], asked: str):
    model, inputs = tiny(AutoModel, "bert"), batch(5, 12)
    padding_free.remove_padding(model)
    if asked == "inputs_embeds":
        ids = inputs.pop("input_ids")
        model(**inputs, inputs_embeds=torch.zeros(*ids.shape, 32).double())
    elif asked == "pairs_of_tokens":
        model(inputs["input_ids"], attention_mask=torch.ones(2, 1, 12, 12).bool())
    elif asked == "position_ids":
        model(**inputs, position_ids=torch.arange(12).expand(2, 12).flip(1))
    else:
        assert model(**inputs, output_hidden_states=True).hidden_states[0].shape == (2, 12, 32)
    assert not kernel


def test_a_cpu_has_no_kernel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(padding_free, "varlen_attn", None)
    assert_same(tiny(AutoModelForSequenceClassification, "bert"), batch(5, 12))


@pytest.mark.parametrize(
    ("dtype", "autocast", "capability", "expected"),
    [
        (torch.float32, None, (9, 0), False),
        (torch.float32, torch.bfloat16, (9, 0), True),
        (torch.float32, torch.float16, (8, 0), True),
        (torch.bfloat16, None, (8, 9), True),
        (torch.float32, torch.float16, (7, 5), False),
    ],
)
def test_the_kernel_needs_half_precision_and_ampere(
    monkeypatch: pytest.MonkeyPatch, dtype, autocast, capability: tuple[int, int], expected: bool
):
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: autocast is not None)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: autocast)
    model = tiny(AutoModel, "bert").to(dtype)
    assert padding_free.has_kernel(model, torch.device("cuda")) is expected


@pytest.mark.parametrize("kind", [TokenClassification, QuestionAnswering, MaskedLM])
def test_no_loss_reads_padding(kind: type):
    inputs = batch(5, 12)
    real = inputs["attention_mask"] == 1
    generator = torch.Generator().manual_seed(0)
    if kind is QuestionAnswering:
        labels, size = torch.tensor([[1, 2], [3, 11]]), 2
    else:
        labels, size = torch.randint(0, 4, real.shape, generator=generator).where(real, -100), 4
    logits = torch.randn(*real.shape, size, generator=generator)
    task = kind.__new__(kind)
    if kind is TokenClassification:
        vars(task)["criterion"] = Criterion(None, problem_type="single_label_classification", label_names="abcd")
    losses = [
        task.loss(logits.where(real.unsqueeze(-1), padding), {**inputs, "labels": labels})[0] for padding in (0.0, 9.0)
    ]
    assert losses[0] == losses[1]


def test_a_run_scores_the_same_packed_and_padded(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kernel: list[int],
    monkeypatch: pytest.MonkeyPatch,
):
    metrics = train_here(
        "data=local", f"data.path={reviews}", "data.batch_size=8", "optimizer.lr=3e-3", "trainer.max_epochs=4"
    )
    assert kernel
    assert metrics["test/accuracy"] > 0.9
    monkeypatch.setattr(padding_free, "has_kernel", lambda base, device: False)
    cli.main(["evaluate", str(tmp_path / "run")])
    printed = capsys.readouterr().out
    for name in ("test/loss", "val/loss", "test/accuracy"):
        assert f"{metrics[name]:.4f}" in printed, name
    assert "varlen" not in (tmp_path / "run" / "model" / "config.json").read_text()


@pytest.mark.parametrize("model_type", [*PACKED, "llama"])
def test_in_mixed_precision_the_kernel_gets_bfloat16(
    kernel: list[int], monkeypatch: pytest.MonkeyPatch, model_type: str
):
    seen: list[Tensor] = []

    def noted(*arguments: Any, **settings: Any) -> Tensor:
        seen.extend(arguments[:3])
        return by_row(*arguments, **settings)

    monkeypatch.setattr(padding_free, "varlen_attn", noted)
    model = tiny(AutoModelForTokenClassification, model_type).float()
    padding_free.remove_padding(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch(5, 12)).logits.float().sum().backward()
    assert len(seen) == 3 * LAYERS
    for states in seen:
        assert (states.shape, states.dtype, states.stride(-1)) == ((17, 2, 16), torch.bfloat16, 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_the_call_of_torchs_kernel_fits_its_declaration(window: int | None, causal: bool):
    query, key, value = (
        torch.randn(1, heads, 17, 16, dtype=torch.bfloat16, device="meta", requires_grad=True) for heads in (4, 2, 2)
    )
    module = nn.Identity()
    module.is_causal = causal
    packed = padding_free.Packed(
        indices=torch.arange(17, device="meta"),
        cu_seq_lens=torch.tensor([0, 5, 17], dtype=torch.int32, device="meta"),
        shape=torch.Size((2, 12)),
    )
    output, _ = padding_free.attention(
        module, query, key, value, None, packed=packed, scaling=0.25, sliding_window=window
    )
    assert output.shape == (1, 17, 4, 16)
    output.sum().backward()
    assert query.grad is not None and query.grad.shape == query.shape
    assert key.grad is not None and key.grad.shape == key.shape


@pytest.mark.cuda
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("model_type", [*PACKED, "llama"])
def test_on_a_gpu_packed_batches_equal_padded_ones(model_type: str, mixed: bool):
    dtype, settings = torch.float32 if mixed else torch.bfloat16, {"initializer_range": 0.05, "num_key_value_heads": 1}
    model = tiny(AutoModelForTokenClassification, model_type, **settings).to("cuda", dtype)
    assert padding_free.has_kernel(model.base_model, torch.device("cuda")) == (not mixed)
    inputs = {name: tensor.cuda() for name, tensor in batch(5, 37, 1, 20).items()}
    real = inputs["attention_mask"] == 1

    def run() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
            logits = model(**inputs).logits[real]
        logits.float().square().sum().backward()
        return logits.float(), torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])

    logits, gradients = run()
    padding_free.remove_padding(model)
    with torch.profiler.profile() as found:
        packed_logits, packed_gradients = run()
    assert {"torch_attn::_varlen_attn", "torch_attn::_varlen_attn_backward"} <= {
        event.key for event in found.key_averages()
    }
    torch.testing.assert_close(packed_logits, logits, rtol=0.05, atol=0.02)
    assert F.cosine_similarity(packed_gradients, gradients, dim=0) > 0.99
