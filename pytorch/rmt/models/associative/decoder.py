"""Decoding with associative memories: every row reads them as the segment found them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from rmt.models.transformer_xl.decoder import KeyValueDecoder

if TYPE_CHECKING:
    from rmt.models.associative.armt import AssociativeMemoryLM
    from rmt.models.associative.state import Associations


class AssociativeDecoder(KeyValueDecoder):
    """The decoder of an AssociativeMemoryLM in evaluation mode.

    Tokens don't see the memory rows, which are computed once, when the segment is full.
    """

    model: AssociativeMemoryLM
    state: Associations | None

    def _run(self, i: int, x_BtD: Tensor, *attention_inputs) -> Tensor:
        if self.state is not None:
            x_BtD = self.model.layers[i].remember(x_BtD, self.state.of_layer(i))
        return super()._run(i, x_BtD, *attention_inputs)
