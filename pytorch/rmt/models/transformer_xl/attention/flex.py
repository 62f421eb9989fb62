"""What rows read, by PyTorch's flex_attention, which its compiler makes into one kernel.

The position scores [H, B, Q, R] are made outside by one product. The kernel adds them to its scores
where align_distances would put them, and gives their gradient. Flex attention has no dropout on
weights. The naive twin is attention_weights in formula.py, times the values.

Axes are in this folder's __init__.py.
"""

import math

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from rmt.models.transformer_xl.attention.formula import biased_queries, position_scores
from rmt.models.transformer_xl.dropout import Dropout


def can_read(query_HBQd: Tensor) -> bool:
    """Whether there is a kernel: on a GPU, in code that is being compiled, for heads from 16 on."""
    is_fused = query_HBQd.is_cuda and torch.compiler.is_compiling()
    return is_fused and query_HBQd.shape[-1] >= 16


def read(
    query_HBQd: Tensor,
    key_HBKd: Tensor,
    value_HBKd: Tensor,
    distance_HRd: Tensor,
    content_bias_Hd: Tensor,
    position_bias_Hd: Tensor,
    *,
    masked_QK: Tensor,
    dropatt: Dropout,
) -> Tensor:
    """The values weighted by formula.attention_weights: [H, B, Q, d].

    dropatt, which must drop nothing, is what the other ways to read take.
    """
    content_HBQd, position_HBQd = biased_queries(query_HBQd, content_bias_Hd, position_bias_Hd)
    position_HBQR = position_scores(position_HBQd, distance_HRd)
    n_queries, n_distances = position_HBQR.shape[2:]

    def add_position(score, head, stream, query, key):
        # As align_distances. A column beyond the last is of a masked key: any will do.
        column = torch.clamp(n_queries - 1 - query + key, max=n_distances - 1)
        score = score + position_HBQR[head, stream, query, column]
        return torch.where(masked_QK[query, key], -math.inf, score)

    return flex_attention(content_HBQd, key_HBKd, value_HBKd, score_mod=add_position, scale=1.0)
