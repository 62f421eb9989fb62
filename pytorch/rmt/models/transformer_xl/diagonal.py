"""Models of Transformer-XL whose layers hand their caches to themselves, computed diagonally.

Axes: X the streams of all layers of a group, one layer's after the other's (grouped.py); the others
are in attention/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from rmt.models.contract import Segment
from rmt.models.diagonal import diagonally
from rmt.models.transformer_xl.grouped import GroupedLayer, choose

if TYPE_CHECKING:
    from rmt.models.transformer_xl.mem_transformer import MemoryAndCache, MemTransformerLM


@dataclass(frozen=True)
class Rows:
    """A segment on its way through the layers: its rows x, [B, N, D], and what goes with them.

    distance, masked: for the attention of every layer, [R, D] and [N, K]. targets: [B, T], or None
    where nothing is predicted. n_known: how many rows of a cache hold something after the segment.
    """

    x: Tensor
    distance: Tensor
    masked: Tensor
    targets: Tensor | None
    n_known: int = 0


class Diagonal:
    """A model's layers as groups, for as long as its weights stay as they are."""

    def __init__(self, model: MemTransformerLM, layers: GroupedLayer):
        self.model, self.layers, self.n_layer = model, layers, len(model.layers)
        pairs = [model.biases(layer) for layer in model.layers]
        self.biases_LHd = [torch.stack(own) for own in zip(*pairs, strict=True)]

    def attention_inputs(self, first: int, rows: Sequence[Rows]) -> tuple:
        """Distances, biases and mask of the layers from first on, one for each of the rows."""
        biases = [own[first : first + len(rows)].flatten(0, 1) for own in self.biases_LHd]
        masks = [each.masked for each in rows]
        masked = masks[0]
        if any(mask is not masked for mask in masks):  # of streams that have just started
            heads = (-1, self.model.config.n_head, -1, -1)
            masked = torch.stack(masks)[:, None].expand(heads).flatten(0, 1)[:, None]
        return torch.stack([each.distance for each in rows]), biases, masked


class CachesDiagonally(Diagonal):
    """trxl, and the models that hand on nothing.

    A cache always has its full length here, so that segments are alike. At a stream's start it is
    filled with zeros, which no row sees.
    """

    def __init__(self, model: MemTransformerLM):
        super().__init__(model, GroupedLayer(model.layers))
        self.n_cached = model.config.n_cached

    def each(
        self, segments: Iterable[Segment], state: MemoryAndCache | None
    ) -> Iterator[tuple[Tensor, Tensor | None, MemoryAndCache]]:
        """As ScheduledModel.diagonal_each."""
        cache = self.model.cache_seen(state)
        n_known = cache[0].shape[1] if cache else 0
        n_empty = self.n_cached - n_known
        own = (
            [F.pad(each, (0, 0, n_empty, 0)) for each in cache] if cache else [None] * self.n_layer
        )
        entering = self.entering(segments, state, n_known)
        for rows, caches in diagonally(entering, own, self.compute):
            hidden_BTD = self.model.dropout(rows.x)[:, self.model.config.n_memory :]
            n_empty = self.n_cached - rows.n_known
            known = tuple(each[:, n_empty:] for each in caches) if self.n_cached else None
            yield hidden_BTD, rows.targets, self.model.State(None, known)

    def entering(
        self, segments: Iterable[Segment], state: MemoryAndCache | None, n_known: int
    ) -> Iterator[Rows]:
        """The segments as rows of the first layer. n_known: before the first of them."""
        for tokens_BT, targets_BT in segments:
            n_streams, n_tokens = tokens_BT.shape
            if state:
                state.check_streams(n_streams)
            x_BND = self.model.input_rows(tokens_BT, None)
            distance_RD, masked_QK = self.model.positions_and_mask(
                self.n_cached, n_tokens, 0, x_BND, n_empty=self.n_cached - n_known
            )
            n_known = min(self.n_cached, n_known + n_tokens)
            yield Rows(x_BND, distance_RD, masked_QK, targets_BT, n_known)

    def compute(
        self, first: int, rows: Sequence[Rows], caches: Sequence[Tensor | None]
    ) -> tuple[list[Rows], list[Tensor | None]]:
        """A step of the schedule (rmt.models.diagonal)."""
        x_XND = torch.cat([each.x for each in rows])
        context_XKD = x_XND
        if self.n_cached:
            x_BND = rows[0].x
            nothing_BCD = x_BND.new_zeros(len(x_BND), self.n_cached, x_BND.shape[2])
            cached_XCD = torch.cat([nothing_BCD if own is None else own for own in caches])
            context_XKD = torch.cat([cached_XCD, x_XND], dim=1)
            # Not a view, which would keep all of a segment's rows in memory.
            caches = context_XKD[:, -self.n_cached :].detach().clone().chunk(len(rows))

        # What the last layer makes serves predictions alone.
        is_last = first + len(rows) == self.n_layer
        n = len(rows) - (is_last and rows[-1].targets is None)
        if n == 0:
            return list(rows), list(caches)
        n_streams = n * len(rows[0].x)
        choose(self.layers, first, n)
        made_XND = self.layers(
            x_XND[:n_streams], context_XKD[:n_streams], *self.attention_inputs(first, rows[:n])
        )
        return [*after_layer(rows[:n], made_XND), *rows[n:]], list(caches)


def after_layer(rows: Sequence[Rows], made_XND: Tensor) -> list[Rows]:
    """The segments with what a layer made of each."""
    return [replace(own, x=x) for own, x in zip(rows, made_XND.chunk(len(rows)), strict=True)]
