"""Decoding that keeps every layer's keys and values within a segment.

A token costs one new row of each layer. What depends on places alone, distances and the mask, is
made for a whole segment when it begins: for fewer keys the table of distances is the end of that
for more, and the mask the upper left of it, as long as no row follows the tokens. The state is
computed once per segment, as in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rmt.models.contract import Decoder

if TYPE_CHECKING:
    from rmt.models.transformer_xl.mem_transformer import MemoryAndCache, MemTransformerLM


class KeyValueDecoder(Decoder):
    """The decoder of a MemTransformerLM in evaluation mode."""

    model: MemTransformerLM
    state: MemoryAndCache | None

    def _begin(self) -> None:
        self.n_cached = self.model.regions(0, self.state)["cache"]
        self.n_computed = 0  # of the open tokens
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * self.model.config.n_layer

    def _predict(self) -> Tensor:
        """Compute the rows of the tokens that came since the last prediction."""
        model, n_open = self.model, self.open_Bt.shape[1]
        x = model.embedded(self.open_Bt[:, self.n_computed :])
        if not self.n_computed and model.config.n_memory:
            x = torch.cat([model.read_memory(self.state, len(x)), x], dim=1)
        if not self.n_computed:
            # Tokens see nothing after themselves, so the write memory can be left out.
            distance_RD, self.masked_QK = model.positions_and_mask(
                self.n_cached, self.tgt_len, 0, x
            )
            self.distances = [layer.attention.distances(distance_RD) for layer in model.layers]
        self.n_computed = n_open
        n_rows, n_to_come = model.config.n_memory + n_open, self.tgt_len - n_open
        masked_QK = self.masked_QK[n_rows - x.shape[1] : n_rows, : self.n_cached + n_rows]
        for i, layer in enumerate(model.layers):
            distance_HRd = self.distances[i][:, n_to_come:]
            x = self._run(i, x, distance_HRd, model.biases(layer), masked_QK)
        return model.softmax.log_probs(x[:, -1], *model.word_weights())

    def _run(self, i: int, x_BtD: Tensor, *attention_inputs) -> Tensor:
        """The new rows after a layer."""
        keys_values = self._keys_values(i, x_BtD)
        return self.model.layers[i].with_keys_values(x_BtD, keys_values, *attention_inputs)

    def _keys_values(self, i: int, x_BtD: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's input rows to what it keeps; return all of that."""
        first = self.kept[i] is None
        if first and self.n_cached:
            x_BtD = torch.cat([self.model.cache_seen(self.state)[i], x_BtD], dim=1)
        new = self.model.layers[i].keys_values(x_BtD)
        n_before = self.n_cached + self.model.config.n_memory
        if first:
            n_room = n_before + self.tgt_len
            self.kept[i] = tuple(
                part.new_empty(*part.shape[:2], n_room, part.shape[3]) for part in new
            )
        end = n_before + self.n_computed
        for kept, part in zip(self.kept[i], new, strict=True):
            kept[:, :, end - part.shape[2] : end] = part
        keys, values = (kept[:, :, :end] for kept in self.kept[i])
        return keys, values
