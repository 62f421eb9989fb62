"""Backbone and memory together on disk, as folders that other programs know.

folder/  config.json, model.safetensors     the backbone, for AutoModel.from_pretrained
         adapter/                           of LoRA, for PeftModel.from_pretrained
         memory.safetensors                 memory, and a classifier that is ours
         memory.json                        what is put around the backbone, and how it is made
"""

import importlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from rmt.models.pretrained import hub
from rmt.models.pretrained.adaptation import adapted, has_adapters
from rmt.models.pretrained.armt import PretrainedARMT
from rmt.models.pretrained.backbone import bare
from rmt.models.pretrained.causal import PretrainedLM
from rmt.models.pretrained.encoder import EncoderOptions, MemoryEncoder
from rmt.models.pretrained.language_model import BACKBONE, BackboneLM
from rmt.models.pretrained.options import AssociativeBackboneOptions, PretrainedOptions
from rmt.runtime.errors import UsageError
from rmt.runtime.files import new_folder

FORMAT = "rmt.pretrained 1"
ABOUT, OURS, ADAPTER = "memory.json", "memory.safetensors", "adapter"
# What reading damaged files raises, here and in the libraries.
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError),
    safetensors.SafetensorError,
)
KINDS = {
    "causal": (PretrainedLM, PretrainedOptions),
    "armt": (PretrainedARMT, AssociativeBackboneOptions),
    "encoder": (MemoryEncoder, EncoderOptions),
}


def save_pretrained(model: BackboneLM | MemoryEncoder, folder: str | os.PathLike) -> None:
    """Write a wrapped model to a new folder, as a whole or not at all.

    Raises UsageError where the folder is there already, or can't be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder")
    with new_folder(folder) as unfinished:
        _write(model, unfinished)


def _write(model: BackboneLM | MemoryEncoder, folder: Path) -> None:
    backbone = bare(model.backbone)
    weights = backbone.state_dict()
    if has_adapters(model.backbone):
        model.backbone.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
        weights = _without_adapters(weights)
    backbone.save_pretrained(str(folder), state_dict=weights)
    own = {
        name: weight.contiguous()
        for name, weight in model.state_dict().items()
        if not name.startswith(BACKBONE)
    }
    safetensors.torch.save_file(own, folder / OURS)
    kind = next(kind for kind, (cls, _) in KINDS.items() if isinstance(model, cls))
    about = {
        "format": FORMAT,
        "kind": kind,
        "backbone": f"{type(backbone).__module__}:{type(backbone).__qualname__}",
        "tgt_len": model.tgt_len,
        "frozen": not any(weight.requires_grad for weight in backbone.base_model.parameters()),
        "options": asdict(model.config),
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def _without_adapters(weights: dict) -> dict:
    """A backbone's own weights, by the names that they have without adapters.

    What is trained as a whole beside adapters is in both folders, here as it was at first.
    """
    return {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): weight
        for name, weight in weights.items()
        if ".lora_" not in name and ".modules_to_save." not in name
    }


def from_pretrained(folder: str | os.PathLike) -> BackboneLM | MemoryEncoder:
    """What save_pretrained wrote, in evaluation mode.

    Raises UsageError where the folder holds no such model.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}")
        cls, options = KINDS[about["kind"]]
        backbone_class = _class(about["backbone"])
        config = options(**about["options"])
        own = safetensors.torch.load_file(folder / OURS)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no saved model: it has no {error.filename}") from None
    except UNREADABLE as error:
        raise UsageError(f"the model in {folder} can't be read ({error})") from None
    try:
        backbone = backbone_class.from_pretrained(str(folder), local_files_only=True, dtype="auto")
        if (folder / ADAPTER).exists():
            adapter = str(folder / ADAPTER)
            backbone = hub.peft().PeftModel.from_pretrained(backbone, adapter, is_trainable=True)
        else:
            backbone = adapted(backbone, 0, about["frozen"])
    except UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"the backbone in {folder} can't be read ({reason})") from None
    model = cls(config, backbone)
    if isinstance(model, BackboneLM):
        model.tgt_len = about["tgt_len"]
    missing, unexpected = model.load_state_dict(own, strict=False)
    missing = [name for name in missing if not name.startswith(BACKBONE)]
    if missing or unexpected:
        raise UsageError(f"the model in {folder} can't be read: {OURS} is of another one")
    return model.eval()


def _class(place: str) -> type[nn.Module]:
    """A class of the transformers library, and of nothing else."""
    module, _, name = place.partition(":")
    if module.split(".")[0] != "transformers":
        raise UsageError(f"the backbone is made by {module}, not by the transformers library")
    hub.transformers()
    return getattr(importlib.import_module(module), name)
