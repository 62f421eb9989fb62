"""Options of armt, and what follows from them without PyTorch."""

from dataclasses import dataclass, fields
from typing import ClassVar

from rmt.models.associative import operations
from rmt.models.options import Carried
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options.option import check_at_least, option
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class MemoryOptions:
    """Of the memory in a model's layers; for its options, which have model and mem_len, too."""

    d_mem: int = option(64, "dimension of the memory's queries and keys, before their features")
    dpfp_nu: int = option(3, "features: every key has 2 * dpfp_nu * d_mem of them")
    correction: bool = option(
        True, "a key counts in the denominator as far as it is new, not every time it is written"
    )
    memory_update: str = option(
        "normalized",
        "the memory gives means of values, by a denominator; or it has none, and changes by the "
        "delta rule (delta)",
        ("normalized", "delta"),
    )

    def check_memory(self) -> None:
        """Raise UsageError for a memory that can't be."""
        check_at_least(self, 1, "d_mem", "dpfp_nu")
        if not self.mem_len:
            raise UsageError(f"{self.model} needs memory tokens: give mem_len 1 or more")
        if self.memory_update == "delta" and not self.correction:
            raise UsageError(
                "no_correction is about the denominator, and memory_update delta has none: leave "
                "one of them out"
            )

    @property
    def n_features(self) -> int:
        """Of a key: the rows of a layer's matrix."""
        return 2 * self.dpfp_nu * self.d_mem

    def n_kept(self, d_model: int) -> int:
        """Numbers in a layer's state: of a matrix and, but for the delta rule, a vector z."""
        return self.n_features * (d_model + (self.memory_update != "delta"))

    @property
    def label(self) -> str:
        return f"{self.model}, memory {self.memory_label}"

    @property
    def memory_label(self) -> str:
        parts = [str(self.mem_len), f"d_mem {self.d_mem}"]
        parts += [f"nu {self.dpfp_nu}"] if self.dpfp_nu != MemoryOptions.dpfp_nu else []
        parts += [] if self.correction else ["no correction"]
        parts += ["delta rule"] if self.memory_update == "delta" else []
        return ", ".join(parts)

    @property
    def folder_name(self) -> str:
        parts = [self.model, f"mem{self.mem_len}", f"d{self.d_mem}"]
        parts += [f"nu{self.dpfp_nu}"] if self.dpfp_nu != MemoryOptions.dpfp_nu else []
        parts += [] if self.correction else ["uncorrected"]
        parts += ["delta"] if self.memory_update == "delta" else []
        return "-".join(parts)


@dataclass(frozen=True)
class AssociativeConfig(MemoryOptions, ModelConfig):
    """Those of the Transformer-XL backbone, and those of a memory in every layer."""

    LENGTHS: ClassVar[tuple[str, ...]] = ("mem_len", "clamp_len")

    model: str = option("armt", "the model", ("armt",))

    # No options here: there is no cache, and memory tokens start every segment as learned rows.
    cache_len: ClassVar[int] = 0
    read_mem_from_cache: ClassVar[bool] = False
    same_length: ClassVar[bool] = False
    mem_init: ClassVar[str] = "distinct"
    memory_mask: ClassVar[str] = "paper"
    write_from: ClassVar[str] = "memory"
    as_published: ClassVar[bool] = False
    published_memory: ClassVar[bool] = False
    published_cache: ClassVar[bool] = False
    published_positions: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        self.check_memory()

    # What programs ask (rmt.models.options)

    @property
    def carried(self) -> Carried:
        return Carried(self.n_layer * self.n_kept(self.d_model), gradient=True)

    def in_result(self) -> dict:
        own = (spec.name for spec in fields(MemoryOptions))
        return super().in_result() | {name: getattr(self, name) for name in own}

    @classmethod
    def refuses(cls, model: str) -> tuple[str, ...]:
        return ()  # what means nothing is no option

    @classmethod
    def lengths(cls, model: str) -> tuple[str, ...]:
        return ("clamp_len",)

    def segment_operations(self, n_tokens: int, n_streams: int) -> int:
        return operations.layer_flops(self, n_tokens, n_streams)
