"""Memory around a model that is there already, in one call.

model = rmt.wrap(AutoModelForCausalLM.from_pretrained(...), mem_len=16, tgt_len=128)
nll, state = model(tokens, targets)         # the first segment
nll, state = model(tokens, targets, state)  # the next one
"""

from typing import TypeVar

from torch import nn

from rmt.models.associative.options import MemoryOptions
from rmt.models.pretrained.adaptation import adapted
from rmt.models.pretrained.armt import PretrainedARMT
from rmt.models.pretrained.backbone import bare, check_is_model
from rmt.models.pretrained.causal import PretrainedLM
from rmt.models.pretrained.encoder import EncoderOptions, MemoryEncoder
from rmt.models.pretrained.language_model import BackboneLM
from rmt.models.pretrained.options import (
    AssociativeBackboneOptions,
    BackboneOptions,
    PretrainedOptions,
)

Model = TypeVar("Model", bound=BackboneLM)


def wrap(
    hf_model: nn.Module,
    *,
    mem_len: int,
    tgt_len: int,
    memory_mask: str = "causal",
    freeze_backbone: bool = False,
    lora_rank: int = 0,
) -> PretrainedLM:
    """A causal language model of the transformers library that reads on and on in segments.

    hf_model: with a language-modelling head (GPT-2, GPT-NeoX, Llama, Qwen, Gemma and others), or
        one with adapters that peft made. Its weights are used, not copied.
    mem_len: memory tokens; the initial ones are drawn by torch's random numbers, as far spread as
        the embeddings. tgt_len: tokens of a segment. The other options are those of
        PretrainedOptions.

    Raises UsageError for a model, or a combination, that is not possible.
    """
    check_is_model(hf_model)
    config = PretrainedOptions(
        _n_words(hf_model),
        mem_len=mem_len,
        memory_mask=memory_mask,
        freeze_backbone=freeze_backbone,
        lora_rank=lora_rank,
    )
    return _around(hf_model, PretrainedLM, config, tgt_len)


def wrap_armt(
    hf_model: nn.Module,
    *,
    mem_len: int,
    tgt_len: int,
    d_mem: int = MemoryOptions.d_mem,
    dpfp_nu: int = MemoryOptions.dpfp_nu,
    memory_update: str = MemoryOptions.memory_update,
    correction: bool = MemoryOptions.correction,
    freeze_backbone: bool = False,
    lora_rank: int = 0,
) -> PretrainedARMT:
    """A causal language model of the transformers library with an associative memory in each layer.

    It predicts what hf_model does until it is trained, with bptt_unrolls 1 or more. hf_model,
    mem_len and tgt_len: as for wrap. The other options are those of AssociativeBackboneOptions.

    Raises UsageError for a model, or a combination, that is not possible.
    """
    check_is_model(hf_model)
    config = AssociativeBackboneOptions(
        _n_words(hf_model),
        mem_len=mem_len,
        d_mem=d_mem,
        dpfp_nu=dpfp_nu,
        memory_update=memory_update,
        correction=correction,
        freeze_backbone=freeze_backbone,
        lora_rank=lora_rank,
    )
    return _around(hf_model, PretrainedARMT, config, tgt_len)


def _n_words(hf_model: nn.Module) -> int:
    return bare(hf_model).get_input_embeddings().weight.shape[0]


def _around(hf_model: nn.Module, kind: type[Model], config: BackboneOptions, tgt_len: int) -> Model:
    """A model of a kind, for segments of so many tokens."""
    model = kind(config, adapted(hf_model, config.lora_rank, config.freeze_backbone))
    model.tgt_len = tgt_len
    model.check_segment(tgt_len)
    return model


def wrap_encoder(
    hf_model: nn.Module,
    *,
    mem_len: int,
    tgt_len: int,
    cls_id: int | None = None,
    sep_id: int | None = None,
    n_labels: int = 0,
    freeze_backbone: bool = False,
    lora_rank: int = 0,
) -> MemoryEncoder:
    """An encoder of the transformers library that classifies texts of any length.

    hf_model: for sequence classification (BERT, RoBERTa, DeBERTa, ELECTRA and others), or an
        encoder alone (also of T5 or BART), which then needs n_labels. Its weights are used, not
        copied.
    tgt_len: tokens of a segment, at most, without those around it. cls_id, sep_id: these, as the
        tokenizer has them; None for a backbone without (T5 has no cls_id).

    Raises UsageError for a model, or a combination, that is not possible.
    """
    check_is_model(hf_model)
    config = EncoderOptions(mem_len, tgt_len, cls_id, sep_id, n_labels)
    return MemoryEncoder(config, adapted(hf_model, lora_rank, freeze_backbone))
