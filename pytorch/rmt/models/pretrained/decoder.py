"""Decoding that keeps the backbone's keys and values within a segment.

A token costs one new row; the state is computed once per segment, as in training, from the whole
segment, so that it does not depend on how the tokens came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rmt.models.contract import Decoder, State

if TYPE_CHECKING:
    from rmt.models.associative.state import Associations
    from rmt.models.pretrained.armt import PretrainedARMT
    from rmt.models.pretrained.causal import PretrainedLM
    from rmt.models.pretrained.language_model import BackboneLM


class KeyValueDecoder(Decoder):
    """The decoder of a PretrainedLM in evaluation mode."""

    model: PretrainedLM

    def __init__(self, model: BackboneLM, state: State | None, tgt_len: int, n_streams: int):
        model.check_segment(tgt_len)
        super().__init__(model, state, tgt_len, n_streams)

    def _begin(self) -> None:
        self.n_computed = 0  # of the open tokens
        self.kept = self.model.new_cache()

    def _predict(self) -> Tensor:
        """Compute the rows of the tokens that came since the last prediction."""
        hidden_BtD = self._run(self.model.embedding(self.open_Bt[:, self.n_computed :]))
        self.n_computed = self.open_Bt.shape[1]
        return self.model.log_probs(hidden_BtD[:, -1])

    def _run(self, x_BtD: Tensor) -> Tensor:
        """The last hidden states of new tokens, and of the read memory with a segment's first."""
        model, n_memory, mask = self.model, self.model.config.mem_len, None
        begins = self.n_computed == 0
        if begins and n_memory:
            x_BtD = torch.cat([model.read_memory(self.state, len(x_BtD)), x_BtD], dim=1)
            if model.config.memory_mask == "paper":
                # Tokens see nothing after themselves, so the write memory can be left out.
                n_open_B = torch.full((len(x_BtD),), self.open_Bt.shape[1], device=x_BtD.device)
                mask = model.paper_mask(x_BtD, 0, n_open_B)
        first = 0 if begins else n_memory + self.n_computed
        return model.layers(
            x_BtD, attention_mask=mask, **self._after(first, x_BtD)
        ).last_hidden_state

    def _after(self, first: int, x_BtD: Tensor) -> dict:
        """What the backbone is told of new rows that follow the first ones, whose keys it has."""
        places_t = torch.arange(first, first + x_BtD.shape[1], device=x_BtD.device)
        return {"position_ids": places_t[None], "cache": self.kept, "use_cache": True}


class AssociativeDecoder(KeyValueDecoder):
    """The decoder of a PretrainedARMT: every row reads the memories as the segment found them.

    Tokens don't see the memory rows, which are computed once, when the segment is full.
    """

    model: PretrainedARMT
    state: Associations | None

    def _run(self, x_BtD: Tensor) -> Tensor:
        state = self.state or self.model.empty_state(len(x_BtD))
        return self.model.remember(x_BtD, state, None, **self._after(self.n_computed, x_BtD))[0]
