from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import CONFIGS, small, trainable
from transformers import AutoModel, AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.models import model_parts
from lightune.models.heads import MeanPooling
from lightune.models.model_with_head import ModelWithHead
from lightune.models.pretrained import PretrainedModel
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.tuning import freezing, lora
from lightune.tuning.trained_only import TrainedOnly


def classifier(folder: Path) -> torch.nn.Module:
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder))
    return pretrained.load_model(AutoModelForSequenceClassification, num_labels=2).train()


def test_full_trains_every_weight(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    freezing.full(model)
    assert len(trainable(model)) == len(list(model.parameters()))


def test_frozen_freezes_embeddings_and_the_lowest_layers(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).train()
    freezing.frozen(model, num_layers=1)
    names = trainable(model)
    assert not any("embeddings" in name or "layer.0." in name for name in names)
    assert any("layer.1." in name for name in names)
    assert "classifier.weight" in names


def test_frozen_layers_are_in_eval_mode(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).train()
    freezing.frozen(model, num_layers=1)
    assert not model.bert.encoder.layer[0].training
    assert model.bert.encoder.layer[1].training


def test_more_layers_than_the_model_has_are_refused(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(UserError, match=r"num_layers=9: this model has 2"):
        freezing.frozen(model, num_layers=9)


def test_everything_but_the_head_is_frozen(tiny_bert: Path):
    model = classifier(tiny_bert)
    freezing.frozen(model, num_layers="all")
    assert trainable(model) == {"classifier.weight", "classifier.bias"}
    assert not any(module.training for module in model.bert.modules())
    assert model.dropout.training
    model = ModelWithHead(AutoModel.from_pretrained(tiny_bert, num_labels=2), MeanPooling)
    freezing.frozen(model, num_layers="all")
    assert trainable(model) == {"classifier.weight", "classifier.bias"}


def test_weights_missing_in_the_checkpoint_belong_to_the_head(tiny_bert: Path, tmp_path: Path):
    AutoModel.from_pretrained(tiny_bert, add_pooling_layer=False).save_pretrained(tmp_path)
    model = classifier(tmp_path)
    freezing.frozen(model, num_layers="all")
    assert {name.rpartition(".")[0] for name in trainable(model)} == {"bert.pooler.dense", "classifier"}
    assert model.bert.pooler.training


def test_a_pattern_selects_the_frozen_weights(tiny_bert: Path):
    model = classifier(tiny_bert)
    freezing.frozen(model, num_layers=3, pattern=r"embeddings|layer\.1\.attention")
    frozen = {name for name, _ in model.named_parameters()} - trainable(model)
    assert all("embeddings" in name or "layer.1.attention" in name for name in frozen)
    assert len(frozen) == 5 + 10
    assert not any(module.training for module in model.bert.encoder.layer[1].attention.modules())
    assert model.bert.encoder.layer[1].training


@pytest.mark.parametrize(("pattern", "said"), [("layers", "is found in no name"), ("(", "no regular expression")])
def test_a_pattern_without_matches_is_refused(tiny_bert: Path, pattern: str, said: str):
    with pytest.raises(UserError, match=said):
        freezing.frozen(classifier(tiny_bert), num_layers=3, pattern=pattern)


def test_bitfit_trains_biases_and_the_head(tiny_bert: Path):
    model = classifier(tiny_bert)
    freezing.bitfit(model)
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    assert trainable(model) == biases | {"classifier.weight"}
    assert all(module.training for module in model.modules())


def test_bitfit_on_a_model_without_biases_is_refused():
    with pytest.raises(UserError, match="T5ForConditionalGeneration has no biases"):
        freezing.bitfit(small("t5"))


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    **{name: lambda config=config: AutoModelForSequenceClassification.from_config(config)
       for name, config in CONFIGS.items()},
    **{name: lambda name=name: small(name) for name in ("gpt2", "qwen", "t5", "bart")},
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_gradient_reaches_frozen_layers(name: str):
    """The input of the lowest trained layer has no gradient function."""
    model = ARCHITECTURES[name]().train()
    freezing.frozen(model, num_layers=1)
    base = getattr(model, "base_model", model)
    read: list[torch.Tensor] = []
    model_parts.transformer_layers(base)[1].register_forward_pre_hook(
        lambda _, args, kwargs: read.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    ids = torch.randint(5, 40, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    model(**inputs).logits.float().sum().backward()
    assert read[0].grad_fn is None and not read[0].requires_grad
    for part in [*model_parts.embedding_modules(base), model_parts.transformer_layers(base)[0]]:
        assert all(parameter.grad is None for parameter in part.parameters())
    assert any(parameter.grad is not None for parameter in model_parts.transformer_layers(base)[1].parameters())


def test_no_gradient_goes_below_the_first_adapters(tiny_bert: Path):
    model = classifier(tiny_bert)
    lora.lora(model, r=2, alpha=4, dropout=0.1, target_modules=["query"], use_rslora=False, use_dora=False)
    read: list[torch.Tensor] = []
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda _, args: read.append(args[0]))
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert read[0].grad_fn is None
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == trainable(model)


WAYS = {
    "lora": ["tuning=lora"],
    "bitfit": ["tuning=bitfit"],
    "layers": ["tuning=frozen", "tuning.num_layers=1"],
    "all but the head": ["tuning=frozen", "tuning.num_layers=all"],
    "pattern": ["tuning=frozen", "tuning.pattern=attention"],
}


@pytest.mark.parametrize("way", WAYS)
def test_frozen_weights_do_not_change_and_have_no_optimizer_state(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
):
    whole: list[dict[str, torch.Tensor]] = []
    cut = TrainedOnly.save

    def remember(self: TrainedOnly, checkpoint: dict[str, Any]) -> None:
        whole.append({name: tensor.clone() for name, tensor in checkpoint["state_dict"].items()})
        cut(self, checkpoint)

    monkeypatch.setattr(TrainedOnly, "save", remember)
    metrics = train_here(
        "data=local", f"data.path={reviews}", "model.pooling=null", "optimizer.lr=1e-2", "trainer.max_epochs=1",
        *WAYS[way],
    )  # fmt: skip
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    state = whole[-1] if whole else last["state_dict"]
    model = classifier(tiny_bert)
    before = {name: parameter for name, parameter in model.named_parameters() if name.startswith("bert.")}
    after = {name.removeprefix("model.").replace(".base_layer", ""): tensor for name, tensor in state.items()}
    same = {name for name, parameter in before.items() if torch.equal(parameter, after[name])}
    moved = sum(before[name].numel() for name in before.keys() - same)
    states = last["optimizer_states"][0]["state"]
    held = sum(one["exp_avg"].numel() for one in states.values())
    assert held == metrics["parameters/trainable"]
    head = sum(parameter.numel() for name, parameter in model.named_parameters() if name not in before)
    lora = sum(tensor.numel() for name, tensor in state.items() if ".lora_" in name)
    assert moved == metrics["parameters/trainable"] - head - lora


def test_nothing_to_train_is_refused(
    train_here: Callable[..., dict[str, float]], reviews: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", "tuning=frozen", "tuning.pattern=.")
    assert "nothing is left to train" in capsys.readouterr().err
