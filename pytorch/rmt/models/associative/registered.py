"""armt in the registry."""

from rmt.models.associative.options import AssociativeConfig
from rmt.models.registry import ModelEntry

ENTRIES = (
    ModelEntry(
        "armt",
        AssociativeConfig,
        "rmt.models.associative.armt:AssociativeMemoryLM",
        means={"mem_len": "memory tokens at the end of a segment, whose outputs are written"},
        colour="#CC79A7",
        marker="v",
    ),
)
