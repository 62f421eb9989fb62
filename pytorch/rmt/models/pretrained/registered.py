"""Memory around a pretrained model in the registry."""

from rmt.models.pretrained.options import PretrainedOptions
from rmt.models.registry import ModelEntry

ENTRIES = (
    ModelEntry(
        "pretrained",
        PretrainedOptions,
        "rmt.models.pretrained.building:build",
        implied_by="backbone",
        means={"mem_len": "memory tokens around the backbone"},
    ),
)
