"""The attention layer: projections to heads, and what they read.

Axes are in this folder's __init__.py.
"""

import math

import torch
from torch import Tensor, nn

from rmt.models.transformer_xl.attention.choice import reader
from rmt.models.transformer_xl.attention.formula import (
    align_distances,
    attention_weights,
    shift_as_published,
)
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.padding import PaddedLinear, padded


class ContextProjection(PaddedLinear):
    """That of keys and values, or of distances: used before the rest of the attention is."""


class RelativeAttention(nn.Module):
    """Multi-head attention of the last Q rows of a context to the whole context.

    The biases u and v are passed in: the model shares them between layers, but for untie_r, where
    they are this layer's own. Inside, heads may be padded with zeros.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d_model, width = config.d_model, config.n_head * config.d_head
        self.n_head = n_head = config.n_head
        to_heads = {"bias": False, "pad_sizes": config.pad_sizes, "leaves_padding": True}
        self.query = PaddedLinear(d_model, width, heads_out=n_head, **to_heads)
        self.key_value = ContextProjection(d_model, 2 * width, heads_out=2 * n_head, **to_heads)
        self.distance = ContextProjection(d_model, width, heads_out=n_head, **to_heads)
        self.output = PaddedLinear(
            width, d_model, bias=False, heads_in=n_head, pad_sizes=config.pad_sizes
        )
        if config.untie_r:
            self.content_bias = nn.Parameter(torch.zeros(n_head, config.d_head))
            self.position_bias = nn.Parameter(torch.zeros(n_head, config.d_head))
        self.dropatt = Dropout(config.dropatt)
        self.reader = reader(config.attention)
        self.align = shift_as_published if config.shifts_as_published else align_distances

    def keys_values(self, context_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """What rows of the context offer to all queries: keys and values, [H, B, K, d] each."""
        keys, values = self.key_value(context_BKD).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def distances(self, distance_RD: Tensor) -> Tensor:
        """What keys have for being so far away: [H, R, d]."""
        return self._distance_heads(self.distance(distance_RD))

    def forward(
        self,
        x_BQD: Tensor,
        keys_values: tuple[Tensor, Tensor],
        distance_HRd: Tensor,
        biases_2Hd: Tensor | tuple[Tensor, Tensor],
        masked_QK: Tensor,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return what the rows x, the last Q of the context, read from the whole: [B, Q, D].

        record: a list to which the weights are added, [H, B, Q, K], without dropout.
        """
        key_HBKd, value_HBKd = keys_values
        query_HBQd = self._heads(self.query(x_BQD))
        # Under autocast the biases would otherwise make the queries fp32 and back again.
        biases = [bias_Hd.to(query_HBQd.dtype) for bias_Hd in biases_2Hd]
        d_head, d_padded = biases[0].shape[-1], query_HBQd.shape[-1]
        if d_padded != d_head:
            # Scores are divided by the root of the size that the query has.
            scale = math.sqrt(d_padded / d_head)
            query_HBQd = scale * query_HBQd
            biases = [padded(scale * bias_Hd, -1) for bias_Hd in biases]
        if record is not None:
            scored = (query_HBQd, key_HBKd, distance_HRd, *biases)
            record.append(attention_weights(*scored, masked_QK=masked_QK, align=self.align))
        read_HBQd = self.read(
            query_HBQd, key_HBKd, value_HBKd, distance_HRd, *biases, masked_QK=masked_QK
        )
        return self.output(self._joined(read_HBQd))

    def read(
        self,
        query_HBQd: Tensor,
        key_HBKd: Tensor,
        value_HBKd: Tensor,
        distance_HRd: Tensor,
        content_bias_Hd: Tensor,
        position_bias_Hd: Tensor,
        *,
        masked_QK: Tensor,
    ) -> Tensor:
        """The values weighted by attention_weights, with dropout on these: [H, B, Q, d]."""
        scored = (distance_HRd, content_bias_Hd, position_bias_Hd)
        if self.align is not align_distances:
            rows = (query_HBQd, key_HBKd, *scored)
            return self.read_by_formula(*rows, value_HBKd=value_HBKd, masked_QK=masked_QK)
        rows = (query_HBQd, key_HBKd, value_HBKd, *scored)
        return self.reader(*rows, masked_QK=masked_QK, dropatt=self.dropatt)

    def read_by_formula(
        self, *query_key_distance_and_biases: Tensor, value_HBKd: Tensor, masked_QK: Tensor
    ) -> Tensor:
        """The same with a tensor for each term of the formula, whatever the alignment."""
        weights_HBQK = attention_weights(
            *query_key_distance_and_biases, masked_QK=masked_QK, align=self.align
        )
        return self.dropatt(weights_HBQK).to(value_HBKd.dtype) @ value_HBKd

    def _heads(self, rows_BNX: Tensor) -> Tensor:
        """Split the last axis into heads: [B, N, H*d] -> [H, B, N, d]."""
        return rows_BNX.unflatten(-1, (self.n_head, -1)).permute(2, 0, 1, 3)

    def _distance_heads(self, distance_RX: Tensor) -> Tensor:
        """The same for distances: [R, H*d] -> [H, R, d]."""
        return distance_RX.unflatten(-1, (self.n_head, -1)).transpose(0, 1)

    def _joined(self, read_HBQd: Tensor) -> Tensor:
        """The way back: [H, B, Q, d] -> [B, Q, H*d]."""
        return read_HBQd.permute(1, 2, 0, 3).flatten(2)
