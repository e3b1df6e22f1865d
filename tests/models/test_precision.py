import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from lightune.models import cpu, precision
from lightune.runs.inference import inference_trainer
from lightune.runs.load_run import make_data, rebuild


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


@pytest.mark.parametrize("chosen", ["bf16-true", "16-true"])
def test_labels_are_not_rounded(train_here: Callable[..., dict[str, float]], tmp_path: Path, chosen: str):
    years = tmp_path / "years.csv"
    values = [1900.25 + 1.37 * row for row in range(60)]
    years.write_text("text,label\n" + "".join(f"a good film {row},{value}\n" for row, value in enumerate(values)))
    metrics = train_here("data=local", f"data.path={years}", f"trainer.precision={chosen}", "trainer.max_steps=1")
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    true = [row["true"] for row in rows]
    assert true == pytest.approx([min(values, key=lambda value: abs(value - one)) for one in true], abs=1e-3)
    errors = [(row["true"] - row["predicted"]) ** 2 for row in rows]
    assert metrics["test/mse"] == metrics["test/loss"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    trainer = inference_trainer(chosen)
    cfg, task, preprocessor = rebuild(tmp_path / "run")
    measured = trainer.test(task, make_data(cfg, preprocessor), verbose=False)[0]
    assert measured["test/mse"] == pytest.approx(metrics["test/mse"], rel=1e-4)


def test_half_precision_converts_the_inputs_and_keeps_the_labels():
    settings = precision.trainer_arguments("bf16-true", accelerator="cpu")
    trainer = Trainer(**settings, accelerator="cpu", logger=False, enable_checkpointing=False)
    batch = {"input_ids": torch.tensor([1]), "states": torch.tensor([1.5]), "labels": torch.tensor([1905.48])}
    found = trainer.precision_plugin.convert_input(batch)
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        "input_ids": torch.int64, "states": torch.bfloat16, "labels": torch.float32,
    }  # fmt: skip
    assert precision.trainer_arguments("32-true", accelerator="cpu") == {"precision": "32-true"}
