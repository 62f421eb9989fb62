"""armt, whose layers hand their memories to themselves, computed diagonally (rmt.models.diagonal).

Axes: X the streams of all layers of a group, one layer's after the other's; the others are in this
folder's __init__.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rmt.models.associative.grouped import GroupedAssociativeLayer
from rmt.models.associative.memory import Memory
from rmt.models.contract import Segment
from rmt.models.diagonal import diagonally
from rmt.models.transformer_xl.diagonal import Diagonal, Rows, after_layer
from rmt.models.transformer_xl.grouped import choose

if TYPE_CHECKING:
    from rmt.models.associative.armt import AssociativeMemoryLM
    from rmt.models.associative.state import Associations


class MemoriesDiagonally(Diagonal):
    """The layers with their associative memories."""

    def __init__(self, model: AssociativeMemoryLM):
        super().__init__(model, GroupedAssociativeLayer(model.layers))

    def each(
        self, segments: Iterable[Segment], state: Associations | None
    ) -> Iterator[tuple[Tensor, Tensor | None, Associations]]:
        """As ScheduledModel.diagonal_each."""
        memories = [state.of_layer(i) if state else None for i in range(self.n_layer)]
        for rows, left in diagonally(self.entering(segments, state), memories, self.compute):
            hidden_BTD = self.model.dropout(rows.x[:, : -self.model.config.mem_len])
            yield hidden_BTD, rows.targets, self.model.State.of(left)

    def entering(self, segments: Iterable[Segment], state: Associations | None) -> Iterator[Rows]:
        """The segments as rows of the first layer."""
        for tokens_BT, targets_BT in segments:
            if state:
                state.check_streams(len(tokens_BT))
            x_BND = self.model.input_rows(tokens_BT, state)
            distance_RD, masked_NN = self.model.positions_and_mask(0, x_BND.shape[1], 0, x_BND)
            yield Rows(x_BND, distance_RD, masked_NN, targets_BT)

    def compute(
        self, first: int, rows: Sequence[Rows], memories: Sequence[Memory | None]
    ) -> tuple[list[Rows], list[Memory]]:
        """A step of the schedule (rmt.models.diagonal)."""
        n = len(rows)
        empty = self.model.layers[0].memory.empty(len(rows[0].x))
        all_A, all_z = zip(*(own or empty for own in memories), strict=True)
        memory = torch.cat(all_A), None if all_z[0] is None else torch.cat(all_z)
        choose(self.layers, first, n)
        made_XND, (A_XFD, z_XF) = self.layers(
            torch.cat([each.x for each in rows]), memory, *self.attention_inputs(first, rows)
        )
        z_of_each = [None] * n if z_XF is None else z_XF.chunk(n)
        return after_layer(rows, made_XND), list(zip(A_XFD.chunk(n), z_of_each, strict=True))
