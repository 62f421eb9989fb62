"""A model with memory from a folder that holds a backbone, as the registry asks for it."""

from pathlib import Path

import torch
from torch import nn

from rmt.models.pretrained import hub
from rmt.models.pretrained.adaptation import adapted
from rmt.models.pretrained.armt import PretrainedARMT
from rmt.models.pretrained.causal import PretrainedLM
from rmt.models.pretrained.options import (
    AssociativeBackboneOptions,
    BackboneOptions,
    PretrainedOptions,
)
from rmt.runtime.errors import UsageError


def build(options: PretrainedOptions) -> PretrainedLM:
    """The backbone with its weights, and new memory.

    Raises UsageError where the folder holds no causal language model, or one for fewer words.
    """
    return PretrainedLM(options, _backbone(options))


def build_armt(options: AssociativeBackboneOptions) -> PretrainedARMT:
    """The same with new associative memories around its layers."""
    return PretrainedARMT(options, _backbone(options))


def _backbone(options: BackboneOptions) -> nn.Module:
    """As it is trained, with adapters."""
    backbone = load_backbone(options.backbone)
    n_words = backbone.get_input_embeddings().weight.shape[0]
    if options.n_token > n_words:
        raise UsageError(
            f"the data has {options.n_token:,} tokens and the backbone {n_words:,}: use the "
            "backbone's tokenizer, --tokenizer hf:PATH"
        )
    return adapted(backbone, options.lora_rank, options.freeze_backbone)


def load_backbone(place: str) -> nn.Module:
    """In float32: from a folder of the transformers library or a GGUF file in it, or of random
    weights from a configuration, a JSON file."""
    if not place:
        raise UsageError("name the folder of a Hugging Face model with --backbone")
    path, transformers = Path(place), hub.transformers()
    # A program's own lines would be in between.
    transformers.utils.logging.disable_progress_bar()
    models, how = transformers.AutoModelForCausalLM, {"local_files_only": True}
    try:
        if path.suffix == ".json" and path.is_file():
            config = transformers.AutoConfig.from_pretrained(str(path), **how)
            return models.from_config(config, dtype=torch.float32)
        if path.suffix == ".gguf":
            path, how["gguf_file"] = path.parent, path.name
        if not path.is_dir():
            raise UsageError(
                f"there is no folder {path}: --backbone is one with a Hugging Face model"
            )
        return models.from_pretrained(str(path), dtype=torch.float32, **how)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{place} holds no causal language model ({reason})") from None
