"""What of a backbone is trained: all of it, adapters in it (LoRA, Hu et al. 2021), or nothing."""

from torch import nn

from rmt.models.pretrained import hub
from rmt.models.pretrained.backbone import bare, classifies
from rmt.runtime.errors import UsageError


def adapted(hf_model: nn.Module, lora_rank: int, freeze_backbone: bool) -> nn.Module:
    """The model with adapters of a rank in all its linear layers (0: none), and with its other
    weights frozen if it has adapters or that is asked for.

    The classifier of a model for sequence classification is new, and trained whatever is frozen.
    An adapter is scaled by two, whatever its rank. Changes the model that it is given. Raises
    UsageError for one that has adapters already.
    """
    if lora_rank and has_adapters(hf_model):
        raise UsageError(f"the model has adapters already: leave out lora_rank {lora_rank}")
    if freeze_backbone and not has_adapters(hf_model):
        (hf_model.base_model if classifies(hf_model) else hf_model).requires_grad_(False)
    if not lora_rank:
        return hf_model
    peft = hub.peft()
    how = peft.LoraConfig(
        r=lora_rank,
        lora_alpha=2 * lora_rank,
        target_modules="all-linear",
        # SEQ_CLS trains the classifier as a whole.
        task_type="SEQ_CLS" if classifies(hf_model) else None,
    )
    return peft.get_peft_model(hf_model, how)


def has_adapters(hf_model: nn.Module) -> bool:
    return bare(hf_model) is not hf_model
