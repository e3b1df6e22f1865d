import platform
from pathlib import Path

import pytest
import torch
from conftest import command
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedModel

from lightune.models import cpu

FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"


def bert(**settings: object) -> BertModel:
    torch.manual_seed(0)
    small = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(**{**small, "num_hidden_layers": 2, "attention_probs_dropout_prob": 0.0, **settings})
    return BertModel(config).train()


def kernels(model: PreTrainedModel, *, bf16: bool, masked: bool = True) -> set[str]:
    """Return the operators that a step on a padded batch ran."""
    ids = torch.randint(5, 50, (4, 12))
    mask = torch.ones_like(ids)
    mask[0, 8:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask if masked else None}
    with profile(activities=[ProfilerActivity.CPU]) as found:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = model(**inputs).last_hidden_state
        output.float().sum().backward()
    return {event.key for event in found.key_averages()}


@pytest.fixture
def sped_up() -> None:
    cpu.speed_up()


@pytest.mark.usefixtures("sped_up")
def test_float32_runs_the_flash_kernel():
    assert {FLASH, FLASH + "_backward"} <= kernels(bert(), bf16=False)


@pytest.mark.usefixtures("sped_up")
def test_bfloat16_runs_matrix_products():
    found = kernels(bert(), bf16=True)
    assert "aten::bmm" in found
    assert FLASH not in found


@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("part", [1, 7 * 7 * 3, 10**6])
@pytest.mark.parametrize("one_mask", [True, False])
def test_attention_in_parts_equals_attention_at_once(
    monkeypatch: pytest.MonkeyPatch, part: int, kept: int, one_mask: bool
):
    torch.manual_seed(0)
    tensors = [torch.randn(3, 4, 7, 8).bfloat16().requires_grad_() for _ in range(3)]
    mask = torch.ones(1 if one_mask else 3, 1 if one_mask else 4, 7, 7, dtype=torch.bool)
    mask[-1, -1, 2:, 5] = mask[0, :, :, 6] = False
    scores = torch.matmul(tensors[0] * 8**-0.5, tensors[1].transpose(-1, -2))
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    wanted = torch.matmul(weights, tensors[2]).transpose(1, 2)
    gradients = torch.autograd.grad(wanted.square().sum(), tensors)
    monkeypatch.setattr(cpu, "PART_SCORES", part)
    monkeypatch.setattr(cpu, "MAX_KEPT_SCORES", kept)
    found, _ = cpu.attention(nn.Module(), *tensors, mask)
    assert torch.equal(found, wanted)
    assert all(map(torch.equal, torch.autograd.grad(found.square().sum(), tensors), gradients))


def test_only_one_part_of_the_scores_exists_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu, "PART_SCORES", 12 * 12)
    sizes: list[int] = []
    softmax = Tensor.softmax
    monkeypatch.setattr(Tensor, "softmax", lambda scores, dim: sizes.append(scores.numel()) or softmax(scores, dim))
    query = torch.randn(4, 2, 12, 8).bfloat16().requires_grad_()
    cpu.attention(nn.Module(), query, query, query, None, is_causal=False)
    assert sizes == [12 * 12] * 8


@pytest.mark.parametrize("part", [1, 7 * 7 * 3, 10**6])
@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("key_heads", [6, 2, 1])
@pytest.mark.parametrize("kind", ["none", "padding", "each query", "each head", "look back", "empty row"])
def test_attention_equals_torchs(monkeypatch: pytest.MonkeyPatch, kind: str, key_heads: int, kept: int, part: int):
    monkeypatch.setattr(cpu, "CAUSAL_QUERIES", 3)
    monkeypatch.setattr(cpu, "MAX_KEPT_SCORES", kept)
    monkeypatch.setattr(cpu, "PART_SCORES", part)
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, heads, 7, 8).bfloat16().requires_grad_() for heads in (6, key_heads, key_heads))
    mask: Tensor | None = None
    if kind == "padding":
        mask = (torch.arange(7) < torch.tensor([7, 5, 2]).view(3, 1, 1, 1)).expand(3, 1, 7, 7)
    elif kind == "each query":
        mask = torch.ones(7, 7, dtype=torch.bool).tril().expand(3, 1, 7, 7)
    elif kind == "each head":
        mask = (torch.rand(3, 6, 7, 7) < 0.5) | torch.eye(7, dtype=torch.bool)
    elif kind == "empty row":
        mask = torch.zeros(3, 1, 7, 7, dtype=torch.bool)
    causal = kind == "look back"
    found, _ = cpu.attention(nn.Module(), query, key, value, mask, is_causal=causal)
    found.float().square().sum().backward()
    gradients = [tensor.grad.float() for tensor in (query, key, value)]
    assert found.dtype == torch.bfloat16
    if kind == "empty row":  # nothing to see: anything finite will do, nobody reads it
        assert all(tensor.isfinite().all() for tensor in (found, *gradients))
        return
    exact = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
    settings: dict = {"attn_mask": mask, "is_causal": causal, "enable_gqa": True}
    wanted = nn.functional.scaled_dot_product_attention(*exact, **settings).transpose(1, 2)
    wanted.square().sum().backward()
    torch.testing.assert_close(found.float(), wanted, atol=2e-2, rtol=2e-2)
    for mine, theirs in zip(gradients, exact, strict=True):
        largest = theirs.grad.abs().max()
        torch.testing.assert_close(mine / largest, theirs.grad / largest, atol=2e-2, rtol=0)


def llama(**settings: object) -> LlamaModel:
    torch.manual_seed(0)
    small = {"vocab_size": 50, "hidden_size": 48, "num_attention_heads": 6, "intermediate_size": 64}
    return LlamaModel(LlamaConfig(**{**small, "num_hidden_layers": 2, "num_key_value_heads": 2, **settings})).train()


@pytest.mark.usefixtures("sped_up")
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
def test_a_decoder_with_grouped_heads_runs_matrix_products(weights: torch.dtype, masked: bool):
    found = kernels(llama().to(weights), bf16=True, masked=masked)
    assert "aten::bmm" in found
    assert FLASH not in found


@pytest.mark.usefixtures("sped_up")
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [True, False])
def test_a_step_with_a_cache_equals_a_pass_over_all(weights: torch.dtype, padded: bool):
    model, ids = llama().to(weights).eval(), torch.randint(5, 50, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, :3] = not padded
    with torch.inference_mode():
        wanted = model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1]
        cache = model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], use_cache=True).past_key_values
        found = model(input_ids=ids[:, -1:], attention_mask=mask, past_key_values=cache).last_hidden_state[:, -1]
    tolerance = 1e-5 if weights == torch.float32 else 3e-2
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)


def test_causal_attention_ignores_the_room_of_a_longer_cache():
    query, key = torch.randn(2, 4, 5, 8).bfloat16(), torch.randn(2, 2, 9, 8).bfloat16()
    found, _ = cpu.attention(nn.Module(), query, key, key, None, is_causal=True)
    wanted, _ = cpu.attention(nn.Module(), query, key[:, :, :5], key[:, :, :5], None, is_causal=True)
    assert torch.equal(found, wanted)


def test_causal_attention_computes_no_block_above_the_diagonal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu, "CAUSAL_QUERIES", 4)
    sizes: list[int] = []
    softmax = Tensor.softmax
    monkeypatch.setattr(Tensor, "softmax", lambda scores, dim: sizes.append(scores.numel()) or softmax(scores, dim))
    query = torch.randn(2, 3, 12, 8).bfloat16()
    cpu.attention(nn.Module(), query, query[:, :1], query[:, :1], None, is_causal=True)
    assert sorted(sizes) == [2 * 3 * 4 * keys for keys in (4, 8, 12)]


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = cpu.Dropout(0.1).train()
    ones = torch.ones(1001, 999, requires_grad=True)
    dropped = layer(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=1e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=2e-3)
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped.detach())
    torch.manual_seed(0)
    assert torch.equal(layer(ones), dropped)  # the seed decides
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_with_probability_zero_and_one(p: float):
    assert cpu.Dropout(p)(torch.ones(5)).tolist() == [1 - p] * 5


def test_every_dropout_of_a_model_is_replaced():
    model = bert()
    names = list(model.state_dict())
    cpu.replace_dropout(model)
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {cpu.Dropout}
    assert list(model.state_dict()) == names


def printed(code: str, folder: Path, **env: str) -> int:
    """Run code in its own process; return the number that it prints."""
    (folder / "code.py").write_text(code)
    done = command(str(folder / "code.py"), **env)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_used_again(tmp_path: Path):
    code = """
import resource, torch
from lightune.models import cpu
cpu.speed_up()
for _ in range(30):
    torch.ones(10**7)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(10**7)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    assert printed(code, tmp_path) < 1000  # mapped anew, ten times 40 MB are 97,660 pages


@pytest.mark.slow
@pytest.mark.skipif(not cpu.has_bf16(), reason="kernels for bfloat16")
def test_a_run_of_many_shapes_keeps_few_kernels(tmp_path: Path):
    code = """
import psutil, torch
from lightune.models import cpu
cpu.speed_up()
rows, weights = (torch.ones(number, 64, dtype=torch.bfloat16) for number in (1500, 64))
rows[:5] @ weights
before = psutil.Process().memory_info().rss
for number in range(10, 1500, 3):
    rows[:number] @ weights
print(psutil.Process().memory_info().rss - before)
"""
    few, many = (printed(code, tmp_path, **setting) for setting in ({}, {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}))
    assert few < 0.8 * many


def test_there_are_no_more_threads_than_a_quota_of_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu.joblib, "cpu_count", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        cpu.speed_up()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        cpu.speed_up()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
