"""The memory that fine-tuning needs on a GPU, computed from a model's configuration: no weights are read."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

# a part of torch's compiler that it documents, under no public name
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from transformers import AttentionInterface, AttentionMaskInterface, AutoModel, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lightune.common.processes import num_devices
from lightune.common.quiet import quiet
from lightune.models.layers import keep_layers
from lightune.models.model_parts import base_model, layer_stacks, max_positions
from lightune.models.transformers_internals import attention_implementation
from lightune.runs.load_run import fit_to_model, make_pretrained, task_class
from lightune.tasks.losses import TOKEN_PIECE

# NF4 and its constants, which are quantized too: 0.127 bits a weight (Dettmers et al., 2023, section 3)
NF4_BYTES = (4 + 0.127) / 8


def compute(config: dict[str, Any], *, lora: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Compute the bytes that a device needs for full fine-tuning, LoRA and QLoRA, by part; all are held at once.

    - weights: in float32 where they are trained in mixed precision, in bfloat16 where they are frozen; under QLoRA the
      frozen matrices of the layers in NF4. Full sharding divides weights, gradients and optimizer (Zhao et al., 2023).
    - optimizer: what it keeps after a step; AdamW's two moments (Kingma and Ba, 2015) are 8 bytes a weight.
    - activations: what the layers keep for the backward pass, low-precision copies of trained weights included; with
      checkpointing their inputs, and all of one layer at a time (Korthikanti et al., 2022, section 5).
    - logits: of a model that writes, as many as its loss holds at a time.

    ``lora`` holds the options of ``tuning=lora``. Each row counts ``data.max_length`` tokens.

    Raises:
        UserError: the task cannot train the model.
    """
    quiet()
    cfg = OmegaConf.create(config)
    pretrained = make_pretrained(cfg)
    cfg = fit_to_model(cfg, pretrained)
    task, data, trainer = task_class(cfg), cfg.data, cfg.trainer
    task.check(pretrained)
    pretrained.load_weights = False
    precision = "bf16-mixed" if trainer.precision == "auto" else str(trainer.precision)
    half = torch.float32 if "32" in precision else torch.float16 if precision.startswith("16") else torch.bfloat16
    dtype = half if precision.endswith("true") else torch.float32
    devices = trainer.devices if "FullySharded" in str(trainer.strategy) else 1
    shards = devices if isinstance(devices, int) else num_devices(accelerator=trainer.accelerator, devices=devices)
    matrix = nn.Parameter(torch.zeros(1024, 1024, dtype=dtype))
    matrix.grad = torch.zeros_like(matrix)
    optimizer = instantiate(cfg.optimizer, _convert_="all")([matrix])
    optimizer.step()
    state_bytes = sum(state.nbytes for state in optimizer.state[matrix].values() if torch.is_tensor(state)) / 1024**2
    needs = {}
    for tuning in ("full", "lora"):
        with torch.device("meta"):
            model: Any = pretrained.load_model(task.auto_class or AutoModel).train()
        if pretrained.num_hidden_layers is not None:
            keep_layers(model, pretrained.num_hidden_layers)
        if tuning == "lora":
            instantiate(lora, _convert_="all")(model)
        for weight in model.parameters():
            weight.data = weight.data.to(dtype if weight.requires_grad else half)
        layers = [layer for stack in layer_stacks(base_model(model)).values() for layer in stack]
        trained = model.num_parameters(only_trainable=True) / shards
        # a decoder reads a prompt and its answer as one text
        length = data.max_length + (data.get("max_target_length", 0) if task.auto_class is AutoModelForCausalLM else 0)
        length = min(length, max_positions(model) or length)
        rows = data.batch_size if data.max_tokens_per_batch is None else max(1, data.max_tokens_per_batch // length)
        shapes = (rows, length), (rows, data.get("max_target_length", length))
        logits = rows * shapes[1][1] * model.config.get_text_config().vocab_size * task.language_model
        needs[tuning] = parts = {
            "weights": sum(weight.nbytes for weight in model.parameters()) / shards,
            "gradients": trained * dtype.itemsize,
            "optimizer": trained * state_bytes,
            "activations": saved_bytes(model, *shapes, autocast=half),
            # in bfloat16 and in float32, with their gradients
            "logits": 12 * (min(logits, TOKEN_PIECE) if task.auto_class is AutoModelForCausalLM else logits),
        }
        if model.supports_gradient_checkpointing:
            model.activation_checkpointing_enable()
            inputs = saved_bytes(model, *shapes, autocast=half)
            needs[f"{tuning}, checkpointing"] = {**parts, "activations": inputs + parts["activations"] / len(layers)}
    frozen = [weight for layer in layers for weight in layer.parameters() if not weight.requires_grad]
    saved = sum(weight.nbytes - weight.numel() * NF4_BYTES for weight in frozen if weight.dim() == 2) / shards
    needs |= {
        f"q{name}": {**needs[name], "weights": needs[name]["weights"] - saved} for name in needs if "lora" in name
    }
    return {name: {**parts, "total": sum(parts.values())} for name, parts in needs.items()}


def saved_bytes(model: Any, shape: tuple[int, int], target_shape: tuple[int, int], *, autocast: torch.dtype) -> float:
    """Return the bytes, weights aside, that a model without its head keeps for the backward pass of a batch."""
    base, kept = base_model(model), dict[Any, Tensor]()
    if attention_implementation(base) == "sdpa":
        # torch's own, without what makes a CPU faster
        AttentionInterface.register("torch", sdpa_attention_forward)
        AttentionMaskInterface.register("torch", sdpa_mask)
        base.set_attn_implementation("torch")
    base.config.use_cache = False
    hooks: Any = torch.autograd.graph.saved_tensors_hooks
    # torch works out shapes and dtypes alone; a CPU's are a GPU's
    with FakeTensorMode(), hooks(lambda x: kept.setdefault(x.untyped_storage(), x), lambda x: x):
        named = [*base.named_parameters(), *base.named_buffers()]
        state = {name: torch.empty(x.shape, dtype=x.dtype, requires_grad=x.requires_grad) for name, x in named}
        inputs = {name: torch.zeros(shape, dtype=torch.long) for name in ("input_ids", "attention_mask")}
        if base.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.zeros(target_shape, dtype=torch.long)
        with torch.autocast("cpu", autocast, enabled=autocast != torch.float32):
            functional_call(base, state, (), inputs)
        return float(sum(x.nbytes() for x in kept.keys() - {x.untyped_storage() for x in state.values()}))
