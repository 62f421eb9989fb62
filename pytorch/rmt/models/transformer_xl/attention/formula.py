"""Attention by its formula: the mask, relative distances, scores and weights.

Axes and sources are in this folder's __init__.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rmt.models.transformer_xl.attention.kept import kept


@kept(64)
def masked_keys(
    n_cached: int,
    n_read: int,
    n_tokens: int,
    n_write: int,
    *,
    memory_sees_cache: bool = False,
    memory_is_causal: bool = False,
    window: int | None = None,
    n_empty: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Which keys each row of a segment must not see: bool [rows, K], True where masked.

    Rows are read memory, tokens, write memory; keys are the cache and then the same rows. Tokens
    see the cache, the read memory and tokens up to themselves; read memory sees itself; write
    memory sees the whole segment. memory_sees_cache opens the cache to both memory blocks, and
    memory_is_causal closes to each of their rows what stands after it. With a window (same_length),
    a token sees only the last `window` tokens of the stream, itself included, cached ones among
    them; its view of the memory stays whole. The first n_empty keys of the cache hold nothing, and
    no row sees them.
    """
    n_rows = n_read + n_tokens + n_write
    row = torch.arange(n_rows)[:, None]
    column = torch.arange(-n_cached, n_rows)[None, :]  # the cache has negative columns
    is_token_row = (row >= n_read) & (row < n_read + n_tokens)
    is_read_column = (column >= 0) & (column < n_read)

    # A token sees every column up to its own, a write row every row, a read row the read block.
    visible = torch.where(row < n_read, is_read_column, column >= 0)
    visible = torch.where(is_token_row, column <= row, visible)
    if memory_is_causal:
        visible &= column <= row
    if memory_sees_cache:
        visible |= ~is_token_row & (column < 0)
    if window is not None:
        # The read block stands between cache and tokens but takes no place in the stream.
        place = torch.where(column < 0, column, column - n_read)
        visible &= ~is_token_row | is_read_column | (row - n_read - place < window)
    visible &= column >= n_empty - n_cached
    return ~visible.to(device)


@kept(64)
def distance_embeddings(
    n_keys: int,
    n_ahead: int,
    d_model: int,
    clamp_len: int = -1,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sinusoids of the relative distances n_keys-1 ... -n_ahead: [R, D], sines first, then cosines.

    A negative distance is a key after its query, which only memory rows see. clamp_len, unless it
    is -1, limits the distance on both sides.
    """
    # Computed in float64 and rounded once, so that float64 models keep their precision.
    distance = torch.arange(n_keys - 1, -n_ahead - 1, -1, dtype=torch.float64)
    if clamp_len >= 0:
        distance = distance.clamp(-clamp_len, clamp_len)
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = distance[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(device=device, dtype=dtype)


def align_distances(scores_HBQR: Tensor, n_keys: int) -> Tensor:
    """From one column per distance to one column per key: [.., Q, R] -> [.., Q, K].

    Query q, at key position K-Q+q, has key k at distance K-Q+q-k, which is column Q-1-q+k: each
    row starts one column before the row above it. Laying the rows end to end and cutting them
    again one element shorter makes exactly that shift, without copying. It needs R > K; cells
    whose distance is not in the table (below -n_ahead) hold other rows' scores and must be masked.
    """
    *_, n_queries, n_distances = scores_HBQR.shape
    row = n_distances - 1
    flat = scores_HBQR.flatten(-2)[..., n_queries - 1 : n_queries - 1 + n_queries * row]
    return flat.unflatten(-1, (n_queries, row))[..., :n_keys]


def shift_as_published(scores_HBQR: Tensor, n_keys: int) -> Tensor:
    """As align_distances, but with what the published code has for keys after their query.

    Of the scores for distances K-1 ... 0, with a column of zeros on their left, the rows are laid
    end to end, and all but the first Q numbers are cut into rows of K again. A key just after its
    query so gets 0, and one further on the next query's score for another distance.
    """
    padded = F.pad(scores_HBQR[..., :n_keys], (1, 0))
    *_, n_queries, _ = padded.shape
    return padded.flatten(-2)[..., n_queries:].unflatten(-1, (n_queries, n_keys))


def relative_scores(
    query_HBQd: Tensor,
    key_HBKd: Tensor,
    distance_HRd: Tensor,
    content_bias_Hd: Tensor,
    position_bias_Hd: Tensor,
    align: Callable[[Tensor, int], Tensor] = align_distances,
) -> Tensor:
    """Attention scores of Dai et al. 2019, section 3.3, before mask and softmax: [H, B, Q, K].

    score(i, j) = [(q_i + u) . k_j + (q_i + v) . W_r R(i-j)] / sqrt(d), with u the content bias,
    v the position bias and W_r R(i-j) the rows of distance_HRd, ordered from distance K-1 down.
    align: align_distances or shift_as_published.
    """
    content_HBQK = (query_HBQd + content_bias_Hd[:, None, None]) @ key_HBKd.mT
    position_HBQR = (query_HBQd + position_bias_Hd[:, None, None]) @ distance_HRd[:, None].mT
    scores_HBQK = content_HBQK + align(position_HBQR, key_HBKd.shape[2])
    return scores_HBQK / math.sqrt(query_HBQd.shape[-1])


def biased_queries(
    query_HBQd: Tensor, content_bias_Hd: Tensor, position_bias_Hd: Tensor
) -> tuple[Tensor, Tensor]:
    """(q + u) / sqrt(d) and (q + v) / sqrt(d): relative_scores are their products with keys and
    with distances."""
    scale = 1 / math.sqrt(query_HBQd.shape[-1])
    query_HBQd = query_HBQd * scale
    content_HBQd = query_HBQd + scale * content_bias_Hd[:, None, None]
    return content_HBQd, query_HBQd + scale * position_bias_Hd[:, None, None]


def position_scores(position_HBQd: Tensor, distance_HRd: Tensor) -> Tensor:
    """A query's product with each distance, by one product a head: [H, B, Q, R]."""
    scores = position_HBQd.flatten(1, 2) @ distance_HRd.mT
    return scores.unflatten(1, position_HBQd.shape[1:3])


def attention_weights(
    *query_key_distance_and_biases: Tensor,
    masked_QK: Tensor,
    align: Callable[[Tensor, int], Tensor] = align_distances,
) -> Tensor:
    """The softmax of relative_scores over the keys that are not masked: [H, B, Q, K]."""
    scores_HBQK = relative_scores(*query_key_distance_and_biases, align=align)
    scores_HBQK = scores_HBQK.masked_fill(masked_QK, -math.inf)
    return softmax(scores_HBQK, _at_least_fp32(scores_HBQK))


def softmax(scores_HBQK: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights of the keys, computed in at least fp32, also under autocast, and then in dtype.

    The backward pass uses them as they are handed on. A compiler left to itself keeps rounded
    scores for it, with the sums of the exact ones: of bf16 scores of 40 the weights that it makes
    of them add up to as much as 1.13.
    """
    return _Softmax.apply(scores_HBQK, dtype)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores_HBQK, dtype):
        weights_HBQK = F.softmax(scores_HBQK, dim=-1, dtype=_at_least_fp32(scores_HBQK)).to(dtype)
        ctx.save_for_backward(weights_HBQK)
        ctx.dtype = scores_HBQK.dtype
        return weights_HBQK

    @staticmethod
    @once_differentiable
    def backward(ctx, d_weights_HBQK):
        (weights_HBQK,) = ctx.saved_tensors
        dtype = _at_least_fp32(weights_HBQK)
        d_scores = torch.ops.aten._softmax_backward_data(
            d_weights_HBQK.to(dtype), weights_HBQK.to(dtype), -1, dtype
        )
        return d_scores.to(ctx.dtype), None


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
