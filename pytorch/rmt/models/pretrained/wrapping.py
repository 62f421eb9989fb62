"""Memory around a model that is there already, in one call.

model = rmt.wrap(AutoModelForCausalLM.from_pretrained(...), mem_len=16, tgt_len=128)
nll, state = model(tokens, targets)         # the first segment
nll, state = model(tokens, targets, state)  # the next one
"""

from torch import nn

from rmt.models.pretrained.adaptation import adapted
from rmt.models.pretrained.backbone import bare, check_is_model
from rmt.models.pretrained.causal import PretrainedLM
from rmt.models.pretrained.encoder import EncoderOptions, MemoryEncoder
from rmt.models.pretrained.options import PretrainedOptions


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
        bare(hf_model).get_input_embeddings().weight.shape[0],
        mem_len=mem_len,
        memory_mask=memory_mask,
        freeze_backbone=freeze_backbone,
        lora_rank=lora_rank,
    )
    model = PretrainedLM(config, adapted(hf_model, lora_rank, freeze_backbone))
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
