"""What rows read by attention, without kernels of its own; any device runs it.

On a CPU in few passes over the large tensors; elsewhere term by term, as a compiler fuses it best.
Axes are in this folder's __init__.py.
"""

import math

import torch
from torch import Tensor

from rmt.models.transformer_xl.attention.formula import (
    align_distances,
    biased_queries,
    position_scores,
    softmax,
)
from rmt.models.transformer_xl.dropout import Dropout


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
    """The values weighted by formula.attention_weights, with dropout on these: [H, B, Q, d]."""
    queries = biased_queries(query_HBQd, content_bias_Hd, position_bias_Hd)
    mask_QK = torch.zeros_like(masked_QK, dtype=query_HBQd.dtype)
    mask_QK.masked_fill_(masked_QK, -math.inf)
    way = read_in_few_passes if query_HBQd.device.type == "cpu" else read_term_by_term
    return way(*queries, key_HBKd, value_HBKd, distance_HRd, mask_QK, dropatt)


def read_term_by_term(
    content_HBQd: Tensor,
    position_HBQd: Tensor,
    key_HBKd: Tensor,
    value_HBKd: Tensor,
    distance_HRd: Tensor,
    mask_QK: Tensor,
    dropatt: Dropout,
) -> Tensor:
    """As read. content, position: of biased_queries. mask: 0, or -inf where a key is masked."""
    position_HBQK = align_distances(position_scores(position_HBQd, distance_HRd), key_HBKd.shape[2])
    scores_HBQK = content_HBQd @ key_HBKd.mT + position_HBQK + mask_QK
    return dropatt(softmax(scores_HBQK, value_HBKd.dtype)) @ value_HBKd


def read_in_few_passes(
    content_HBQd: Tensor,
    position_HBQd: Tensor,
    key_HBKd: Tensor,
    value_HBKd: Tensor,
    distance_HRd: Tensor,
    mask_QK: Tensor,
    dropatt: Dropout,
) -> Tensor:
    """The same, with a backward pass of its own."""
    rows = (content_HBQd, position_HBQd, key_HBKd, value_HBKd, distance_HRd)
    kept = dropatt.multipliers(
        (*content_HBQd.shape[:3], key_HBKd.shape[2]), content_HBQd.dtype, content_HBQd.device
    )
    with torch.autocast(content_HBQd.device.type, enabled=False):  # all have one dtype already
        return _Read.apply(*(x.contiguous() for x in rows), mask_QK, kept)


class _Read(torch.autograd.Function):
    """The weights @ values in few passes over the large tensors, [H, B, Q, K] or [.., R].

    The product that makes the content scores adds them to the position scores; of all these
    tensors only the weights are kept; backward, the gradient is laid out by distance once.
    """

    @staticmethod
    def forward(ctx, content_HBQd, position_HBQd, key_HBKd, value_HBKd, distance_HRd, mask, kept):
        """content, position: the scaled queries, each with its bias. mask: 0 or -inf. kept: what
        dropout multiplies the weights by, [H, B, Q, K], or None. All contiguous.
        """
        by_distance = _streams_joined(position_HBQd) @ distance_HRd.mT
        by_distance = by_distance.unflatten(1, position_HBQd.shape[1:3])
        scores_HBQK = align_distances(by_distance, key_HBKd.shape[2]) + mask
        scores_HBQK.flatten(0, 1).baddbmm_(content_HBQd.flatten(0, 1), key_HBKd.flatten(0, 1).mT)
        weights_HBQK = scores_HBQK.softmax(-1)
        ctx.save_for_backward(
            content_HBQd, position_HBQd, key_HBKd, value_HBKd, distance_HRd, weights_HBQK, kept
        )
        return _times(weights_HBQK, kept) @ value_HBKd

    @staticmethod
    def backward(ctx, d_read_HBQd):
        content, position, key, value, distance, weights, kept = ctx.saved_tensors
        d_read_HBQd = d_read_HBQd.contiguous()
        d_weights = _times(d_read_HBQd @ value.mT, kept)
        d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_by_distance = d_scores.new_zeros(*position.shape[:3], distance.shape[1])
        align_distances(d_by_distance, key.shape[2]).copy_(d_scores)
        d_by_distance = _streams_joined(d_by_distance)
        return (
            d_scores @ key,
            (d_by_distance @ distance).view_as(position),
            d_scores.mT @ content,
            _times(weights, kept).mT @ d_read_HBQd,
            d_by_distance.mT @ _streams_joined(position),
            None,
            None,
        )


def _streams_joined(x_HBQX: Tensor) -> Tensor:
    return x_HBQX.flatten(1, 2)  # distances are a head's, the same for all streams


def _times(x: Tensor, multipliers: Tensor | None) -> Tensor:
    return x if multipliers is None else x * multipliers
