"""Decoding that keeps the backbone's keys and values within a segment.

A token costs one new row; the state is computed once per segment, as in training, from the whole
segment, so that it does not depend on how the tokens came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rmt.models.contract import Decoder

if TYPE_CHECKING:
    from rmt.models.pretrained.causal import Memory, PretrainedLM


class KeyValueDecoder(Decoder):
    """The decoder of a PretrainedLM in evaluation mode."""

    model: PretrainedLM

    def __init__(self, model: PretrainedLM, state: Memory | None, tgt_len: int, n_streams: int):
        model.check_segment(tgt_len)
        super().__init__(model, state, tgt_len, n_streams)
        self._open()

    def _open(self) -> None:
        """Nothing is kept of a segment that has just begun."""
        self.n_computed = 0  # of the open tokens
        self.kept = self.model.new_cache()

    def _roll(self, full: Sequence[Tensor]) -> None:
        super()._roll(full)
        self._open()

    def _predict(self) -> Tensor:
        """Compute the rows of the tokens that came since the last prediction."""
        model, n_memory = self.model, self.model.config.mem_len
        begins, n_open = self.n_computed == 0, self.open_Bt.shape[1]
        x, mask = model.embedding(self.open_Bt[:, self.n_computed :]), None
        if begins and n_memory:
            x = torch.cat([model.read_memory(self.state, len(x)), x], dim=1)
            if model.config.memory_mask == "paper":
                # Tokens see nothing after themselves, so the write memory can be left out.
                n_open_B = torch.full((len(x),), n_open, device=x.device)
                mask = model.paper_mask(x, 0, n_open_B)
        first = 0 if begins else n_memory + self.n_computed
        out = model.layers(
            x,
            attention_mask=mask,
            position_ids=torch.arange(first, first + x.shape[1], device=x.device)[None],
            cache=self.kept,
            use_cache=True,
        )
        self.n_computed = n_open
        return model.log_probs(out.last_hidden_state[:, -1])
