"""Small random models of every architecture."""

import torch
import transformers
from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
LAYERS = {"num_hidden_layers": 3, "max_position_embeddings": 40}
CONFIGS = {
    "bert": BertConfig(**SIZES, **LAYERS),
    "roberta": RobertaConfig(**SIZES, **LAYERS),
    "electra": ElectraConfig(**SIZES, **LAYERS, embedding_size=16),
    "distilbert": DistilBertConfig(vocab_size=50, dim=32, n_heads=2, hidden_dim=64, n_layers=3),
    "deberta": DebertaV2Config(**SIZES, **LAYERS, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "modernbert": ModernBertConfig(**SIZES, **LAYERS, pad_token_id=0, cls_token_id=1, sep_token_id=2),
}


def small(name: str, *, layers: int = 2) -> transformers.PreTrainedModel:
    sizes = {"vocab_size": 80, "num_hidden_layers": layers, "num_attention_heads": 2, "hidden_size": 32}
    encoder = {**sizes, "intermediate_size": 64, "max_position_embeddings": 64}
    decoder = {
        "vocab_size": 80, "d_model": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    heads = {
        f"{part}_{what}": n
        for part in ("encoder", "decoder")
        for what, n in (("layers", layers), ("attention_heads", 2))
    }
    configs = {
        "bert": transformers.BertConfig(**encoder),
        "roberta": transformers.RobertaConfig(**encoder, pad_token_id=0),
        "distilbert": transformers.DistilBertConfig(vocab_size=80, dim=32, n_layers=layers, n_heads=2, hidden_dim=64),
        "deberta": transformers.DebertaV2Config(**encoder, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        "albert": transformers.AlbertConfig(**encoder, embedding_size=16),
        "electra": transformers.ElectraConfig(**encoder, embedding_size=16),
        "modernbert": transformers.ModernBertConfig(**encoder, pad_token_id=0, cls_token_id=2, sep_token_id=3),
        "gpt2": transformers.GPT2Config(
            vocab_size=80, n_embd=32, n_layer=layers, n_head=2, n_positions=64, bos_token_id=3, eos_token_id=3
        ),
        "qwen": transformers.Qwen2Config(**encoder, num_key_value_heads=1, tie_word_embeddings=True),
        "t5": transformers.T5Config(**decoder, d_kv=16, d_ff=64, num_layers=layers, num_heads=2),
        "bart": transformers.BartConfig(
            **decoder, **heads, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
            forced_eos_token_id=None,
        ),
    }  # fmt: skip
    torch.manual_seed(0)
    config = configs[name]
    whole = {"t5": "Seq2SeqLM", "bart": "Seq2SeqLM", "gpt2": "CausalLM", "qwen": "CausalLM"}
    auto_class = getattr(transformers, f"AutoModelFor{whole[name]}" if name in whole else "AutoModel")
    return auto_class.from_config(config)


def trainable(model: torch.nn.Module) -> set[str]:
    """Return the names of the parameters that are not frozen."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def every_architecture() -> dict[str, transformers.PreTrainedConfig]:
    """Return a tiny configuration of two layers for each model of ``conf/model``, and for other known ones."""
    sizes = {"vocab_size": 80, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32}
    encoder = {**sizes, "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
    t5 = {"vocab_size": 80, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    t5 |= {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    seq2seq = {
        "vocab_size": 80, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2,
    }  # fmt: skip
    gpt2 = {"vocab_size": 80, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "pad_token_id": 0}
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    xlm = {"vocab_size": 80, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
    bert = transformers.BertConfig
    return {
        "bert": bert(**encoder), "minilm": bert(**encoder), "bert_large": bert(**encoder), "bert_chinese": bert(**encoder),
        "roberta": transformers.RobertaConfig(**encoder),
        "camembert": transformers.CamembertConfig(**encoder),
        "xlm_roberta": transformers.XLMRobertaConfig(**encoder),
        "electra": transformers.ElectraConfig(**encoder, embedding_size=16),
        "albert": transformers.AlbertConfig(**encoder, embedding_size=16),
        "deberta": transformers.DebertaV2Config(**encoder, **relative),
        "distilbert": transformers.DistilBertConfig(vocab_size=80, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
        "modernbert": transformers.ModernBertConfig(**encoder, cls_token_id=2, sep_token_id=3),
        "gpt2": transformers.GPT2Config(**gpt2), "distilgpt2": transformers.GPT2Config(**gpt2),
        "qwen": transformers.Qwen2Config(**encoder, num_key_value_heads=1),
        "smollm2": transformers.LlamaConfig(**encoder, num_key_value_heads=1, tie_word_embeddings=True),
        "t5_small": transformers.T5Config(**t5), "t5_base": transformers.T5Config(**t5),
        "bart_base": transformers.BartConfig(**seq2seq),
        "marian_en_de": transformers.MarianConfig(**seq2seq),
        "mbart50": transformers.MBartConfig(**seq2seq),
        "mpnet": transformers.MPNetConfig(**{**encoder, "pad_token_id": 1}),
        "mobilebert": transformers.MobileBertConfig(**encoder, embedding_size=32),
        "xlnet": transformers.XLNetConfig(vocab_size=80, d_model=32, n_layer=2, n_head=2, d_inner=64),
        "xlm": transformers.XLMConfig(**xlm),
        "funnel": transformers.FunnelConfig(
            vocab_size=80, block_sizes=[2, 2], d_model=32, n_head=2, d_head=16, d_inner=64, num_decoder_layers=1,
            architectures=["FunnelModel"],
        ),
    }  # fmt: skip
