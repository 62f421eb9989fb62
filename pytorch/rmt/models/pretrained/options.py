"""Options of memory around a pretrained model, and what follows from them without PyTorch."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from rmt.data.labels import first_label, padding_id
from rmt.models.associative.options import MemoryOptions
from rmt.models.options import ModelOptions
from rmt.options.option import check_at_least, check_choices, option
from rmt.runtime.errors import UsageError

MASKS = ("causal", "paper")
CONFIG = "backbone.json"  # what a run keeps of a backbone beside its weights


@dataclass(frozen=True)
class BackboneOptions(ModelOptions):
    """Where the backbone is, and what of it is trained. n_token is the size of its vocabulary."""

    backbone: str = option(
        "",
        "folder of a Hugging Face model, a GGUF file, or the config.json of one that is to have "
        "random weights; empty: one that was handed over",
    )
    mem_len: int = option(0, "memory tokens, the paper's MEMORY")
    freeze_backbone: bool = option(False, "train the memory alone, or with lora_rank its adapters")
    lora_rank: int = option(0, "train adapters of this rank (LoRA) in the backbone; 0: none")

    def __post_init__(self):
        check_choices(self)
        check_at_least(self, 1, "n_token")
        check_at_least(self, 0, "mem_len", "lora_rank")

    @property
    def trains_memory_alone(self) -> bool:
        """Whether nothing of the backbone is trained, and no adapters in it."""
        return self.freeze_backbone and not self.lora_rank

    @property
    def unusual(self) -> list[str]:
        adapters = [f"LoRA {self.lora_rank}"] if self.lora_rank else []
        return ["frozen backbone"] if self.trains_memory_alone else adapters

    @property
    def label(self) -> str:
        memory = [f"memory {self.mem_len}"] if self.mem_len else []
        return ", ".join([self.model, *memory, *self.unusual])

    @property
    def memory(self) -> int:
        return self.mem_len

    @property
    def folder_name(self) -> str:
        return f"{self.model}-mem{self.mem_len}{self.hyphenated(self.unusual)}"

    @property
    def why_eager(self) -> str:
        return (
            "a pretrained backbone is computed by the transformers library, which may wait for the "
            "GPU"
        )

    def kept_in(self, folder: Path) -> Self:
        kept = folder / CONFIG
        return replace(self, backbone=str(kept)) if kept.is_file() else self


@dataclass(frozen=True)
class PretrainedOptions(BackboneOptions):
    """Those of memory tokens around it."""

    model: str = option("pretrained", "the model")
    memory_mask: str = option(
        "causal",
        "what memory rows see: causal as in the backbone and in the authors' wrapper, or paper: "
        "read memory sees itself, write memory all",
        MASKS,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.memory_mask != "causal" and not self.mem_len:
            raise UsageError(
                f"memory_mask {self.memory_mask} is about memory, and there is none: leave it out, "
                "or give mem_len 1 or more"
            )
        if self.trains_memory_alone and not self.mem_len:
            raise UsageError(
                "with freeze_backbone and mem_len 0 there is nothing to train: leave one of them "
                "out"
            )

    @property
    def unusual(self) -> list[str]:
        return [*super().unusual, *(["paper mask"] if self.memory_mask == "paper" else [])]

    def why_untrained(self, bptt_unrolls: int, goes_on: bool) -> str | None:
        if not (self.trains_memory_alone and goes_on):
            return None
        return (
            "with freeze_backbone only the memory is trained that a stream begins with, and with "
            f"bptt_unrolls {bptt_unrolls} later segments of a text don't reach it: give lora_rank, "
            "or leave freeze_backbone out"
        )


@dataclass(frozen=True)
class AssociativeBackboneOptions(MemoryOptions, BackboneOptions):
    """Those of an associative memory in each of its layers."""

    model: str = option("pretrained_armt", "the model")

    def __post_init__(self):
        super().__post_init__()
        self.check_memory()

    @property
    def label(self) -> str:
        return ", ".join([super().label, *self.unusual])

    @property
    def folder_name(self) -> str:
        return super().folder_name + self.hyphenated(self.unusual)

    def why_untrained(self, bptt_unrolls: int, goes_on: bool) -> str | None:
        if not self.trains_memory_alone or bptt_unrolls:
            return None
        return (
            "with freeze_backbone only the memories are trained, and what a segment writes is read "
            "in later ones: give bptt_unrolls 1 or more, or leave freeze_backbone out"
        )


@dataclass(frozen=True)
class ClassifierOptions(BackboneOptions):
    """A pretrained encoder that tells labels. n_token is the size of its tokenizer's vocabulary
    with padding and labels at its end (data/labels.py)."""

    model: str = option("encoder", "the model")
    backbone: str = option(
        "",
        "folder of a Hugging Face encoder and its tokenizer.json, or the config.json in it for one "
        "of random weights",
    )
    freeze_backbone: bool = option(
        False, "train memory and classifier alone, or with lora_rank adapters, too"
    )
    # The data tells; 0 for data without labels.
    n_labels: int = field(default=0, metadata={"help": None})

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 0, "n_labels")

    @property
    def first_label(self) -> int:
        """The id of the first label."""
        return first_label(self.n_token, self.n_labels)

    @property
    def padding(self) -> int:
        """The id of what stands where there is no text."""
        return padding_id(self.n_token, self.n_labels)
