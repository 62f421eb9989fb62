"""The state of models whose layers have associative memories."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rmt.models.associative.memory import Memory
from rmt.models.contract import State


@dataclass(frozen=True)
class Associations(State):
    """All that one segment hands to the next: the memory of every layer, with gradient.

    A: one [B, F, D] per layer. z: one [B, F] per layer; None with the delta rule.
    """

    A: tuple[Tensor, ...] | None = None
    z: tuple[Tensor, ...] | None = None

    @classmethod
    def of(cls, memories: Sequence[Memory]) -> "Associations":
        """The state of these layers' memories."""
        all_A, all_z = zip(*memories, strict=True)
        return cls(all_A, None if all_z[0] is None else all_z)

    def where(self, streams_B: Tensor, other: "Associations") -> "Associations":
        """This state in some streams, the other one elsewhere. streams: [B] bool."""

        def chosen(own: tuple[Tensor, ...] | None, others: tuple[Tensor, ...] | None):
            return own and tuple(
                torch.where(streams_B.view(-1, *[1] * (one.dim() - 1)), one, two)
                for one, two in zip(own, others, strict=True)
            )

        return Associations(chosen(self.A, other.A), chosen(self.z, other.z))

    def of_layer(self, i: int) -> Memory:
        return self.A[i], self.z[i] if self.z else None
