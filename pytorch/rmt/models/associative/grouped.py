"""A group of layers with associative memories as one (rmt.models.transformer_xl.grouped).

A memory computes each stream by itself, so the same lines serve for the streams of all layers. Only
its linear maps are grouped.
"""

from collections.abc import Sequence

from torch import nn

from rmt.models.associative.armt import AssociativeLayer
from rmt.models.associative.memory import AssociativeMemory, DeltaMemory
from rmt.models.transformer_xl.grouped import GroupedLayer, GroupedLinear


class GroupedMemory(AssociativeMemory):
    """AssociativeMemory of several layers."""

    def __init__(self, memories: Sequence[AssociativeMemory]):
        nn.Module.__init__(self)
        self.nu, self.correction = memories[0].nu, memories[0].correction
        for name in ("query", "key", "value", "strength"):
            setattr(self, name, GroupedLinear([getattr(each, name) for each in memories]))


class GroupedDeltaMemory(GroupedMemory, DeltaMemory):
    """DeltaMemory of several layers."""


class GroupedAssociativeLayer(GroupedLayer, AssociativeLayer):
    """AssociativeLayer, for several of them."""

    def __init__(self, layers: Sequence[AssociativeLayer]):
        super().__init__(layers)
        self.n_memory = layers[0].n_memory
        memories = [each.memory for each in layers]
        is_delta = isinstance(memories[0], DeltaMemory)
        self.memory = (GroupedDeltaMemory if is_delta else GroupedMemory)(memories)
