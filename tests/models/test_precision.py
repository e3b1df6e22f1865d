import logging

import pytest
import torch

from lightune.models import cpu, precision


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch):
    def pretend(*, cpu_bf16: bool = False, cuda: bool = False, cuda_bf16: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(cpu, "has_bf16", lambda: cpu_bf16)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("machine", "accelerator", "chosen"),
    [
        ({"cpu_bf16": True}, "auto", "bf16-mixed"),
        ({"cpu_bf16": False}, "auto", "32-true"),
        ({"cpu_bf16": False, "cuda": True, "cuda_bf16": True}, "auto", "bf16-mixed"),
        ({"cpu_bf16": False, "cuda": True, "cuda_bf16": True}, "cpu", "32-true"),
        ({"cpu_bf16": True, "cuda": True, "cuda_bf16": False}, "gpu", "32-true"),
        ({"cpu_bf16": True, "mps": True}, "auto", "32-true"),
        ({"cpu_bf16": True, "mps": True}, "cpu", "bf16-mixed"),
    ],
)
def test_bfloat16_where_the_hardware_multiplies_it(hardware, machine, accelerator, chosen, caplog):
    hardware(**machine)
    with caplog.at_level(logging.INFO):
        assert precision.resolve("auto", accelerator=accelerator) == chosen
    assert len(caplog.messages) == 1
    assert chosen in caplog.messages[0]


def test_an_explicit_precision_is_kept(hardware, caplog):
    hardware(cpu_bf16=True)
    assert precision.resolve("32-true", accelerator="cpu") == "32-true"
    assert not caplog.messages


def test_this_machine_has_bfloat16_if_its_flags_say_so():
    assert cpu.has_bf16() in (True, False)
    assert cpu.has_bf16() == bool(
        {"avx512_bf16", "amx_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has}
    )
