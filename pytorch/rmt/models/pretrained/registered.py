"""Memory around pretrained models in the registry."""

from rmt.models.pretrained.options import (
    AssociativeBackboneOptions,
    ClassifierOptions,
    PretrainedOptions,
)
from rmt.models.registry import ModelEntry

ENTRIES = (
    ModelEntry(
        "pretrained",
        PretrainedOptions,
        "rmt.models.pretrained.building:build",
        implied_by="backbone",
        means={"mem_len": "memory tokens around the backbone"},
    ),
    ModelEntry(
        "pretrained_armt",
        AssociativeBackboneOptions,
        "rmt.models.pretrained.building:build_armt",
        implied_by="backbone",
        instead_of="armt",
        means={"mem_len": "memory tokens at the end of a segment, whose outputs are written"},
    ),
    ModelEntry(
        "encoder",
        ClassifierOptions,
        "rmt.models.pretrained.building:build_classifier",
        means={"mem_len": "memory tokens around the backbone"},
    ),
)
