"""Random two-layer models of the families that memory is put around, and tokenizers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rmt.models.contract import State
from rmt.models.pretrained.wrapping import wrap, wrap_armt, wrap_encoder

V = 37
SIZES = {
    "vocab_size": V,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
OF_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
OF_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
OF_BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 64,
}
FEW_HEADS = {"num_key_value_heads": 1}
OF_GEMMA = {**SIZES, **FEW_HEADS, "head_dim": 8}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
THREE = {**SIZES, "num_labels": 3}

# By family: the model's class, its configuration's, and what that is made of.
CAUSAL = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": V, **OF_GPT2}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SIZES),
    "llama": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**SIZES, **FEW_HEADS, "tie_word_embeddings": True},
    ),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**SIZES, **FEW_HEADS}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", OF_GEMMA),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", OF_GEMMA),
    # Of two layers the first sees a window of 6 rows.
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**OF_GEMMA, "sliding_window": 6}),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**OF_GEMMA, "sliding_window": 6}),
}
WINDOWED = ("gemma2", "gemma3")
# Their norms compute in float32, whatever the weights are.
IN_FLOAT32 = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
ENCODERS = {
    "bert": ("BertForSequenceClassification", "BertConfig", THREE),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", THREE),
    "deberta": ("DebertaForSequenceClassification", "DebertaConfig", {**THREE, **RELATIVE}),
    "deberta_v2": (
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        {**THREE, **RELATIVE, "position_biased_input": False},
    ),
    "electra": (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        {**THREE, "embedding_size": 16},
    ),
    "bert_alone": ("BertModel", "BertConfig", SIZES),
    "t5": ("T5EncoderModel", "T5Config", {"vocab_size": V, **OF_T5}),
    "bart": ("BartModel", "BartConfig", {"vocab_size": V, **OF_BART}),
}
CLS, SEP = 0, 2
# By the names that the families of encoders have for it.
NO_DROPOUT = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
NO_DROPOUT |= dict.fromkeys(("dropout", "attention_dropout", "dropout_rate"), 0.0)
NO_DROPOUT |= {"classifier_dropout": 0.0}


def backbone(name: str, **changes) -> nn.Module:
    """In float64 and evaluation mode, with weights large enough for every term to matter."""
    transformers = pytest.importorskip("transformers")
    model_class, config_class, options = {**CAUSAL, **ENCODERS}[name]
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = getattr(transformers, config_class)(**{**special, **options, **changes})
    model = getattr(transformers, model_class)(config).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def wrapped(name: str, mem_len: int = 3, tgt_len: int = 5, **options):
    """A causal language model with memory."""
    return wrap(backbone(name), mem_len=mem_len, tgt_len=tgt_len, **options)


def wrapped_armt(name: str, mem_len: int = 3, tgt_len: int = 5, **options):
    """A causal language model whose layers have associative memories, as if trained: a new one
    holds nothing."""
    options = {"d_mem": 4, "dpfp_nu": 2, **options}
    model = wrap_armt(backbone(name), mem_len=mem_len, tgt_len=tgt_len, **options)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.memories.parameters():
            weight.copy_(0.5 * torch.randn_like(weight))
    return model


def wrapped_encoder(
    name: str, mem_len: int = 3, tgt_len: int = 5, changes: dict | None = None, **options
):
    """One for three classes. changes: of its backbone's configuration."""
    model = backbone(name, **changes or {})
    if not type(model).__name__.endswith("ForSequenceClassification"):
        options["n_labels"] = 3
    first = {} if name == "t5" else {"cls_id": CLS}
    torch.manual_seed(1)
    made = wrap_encoder(model, mem_len=mem_len, tgt_len=tgt_len, sep_id=SEP, **first, **options)
    return made.eval()


def words(*shape: int, seed: int = 3) -> torch.Tensor:
    """Random ids that are none of the special ones."""
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


def tolerance(name: str) -> dict:
    return {"rtol": 0, "atol": 1e-5 if name in IN_FLOAT32 else 1e-12}


def assert_same_state(found: State, expected: State, rtol=1e-12, atol=1e-12) -> None:
    assert found.tensors().keys() == expected.tensors().keys()
    for name, tensor in expected.tensors().items():
        torch.testing.assert_close(found.tensors()[name], tensor, rtol=rtol, atol=atol)


def write_tokenizer(folder: Path, text: str, n_tokens: int) -> None:
    """One of bytes and their frequent pairs in a text, as GPT-2's."""
    tokenizers = pytest.importorskip("tokenizers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
