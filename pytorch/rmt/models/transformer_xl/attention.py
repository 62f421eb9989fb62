"""Transformer-XL attention over a segment with read and write memory.

Axes, as suffixes of tensor names:
    B batch (parallel streams)   Q queries: the last Q of the K keys   H heads
    D d_model                    K keys: [cache, read memory, tokens, write memory]   d d_head
    R relative distances, from K-1 (the oldest key seen by the last query) down to -n_ahead

Sources: Dai et al. 2019, "Transformer-XL", section 3.3 (relative positions); Bulatov et al. 2022,
"Recurrent Memory Transformer", section 3.2 and Figure 6(d) (which memory row sees what).
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.options import ModelConfig


@lru_cache(maxsize=64)
def masked_keys(
    n_cached: int,
    n_read: int,
    n_tokens: int,
    n_write: int,
    *,
    memory_sees_cache: bool = False,
    window: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Which keys each row of a segment must not see: bool [rows, K], True where masked.

    Rows are read memory, tokens, write memory; keys are the cache and then the same rows. Tokens
    see the cache, the read memory and tokens up to themselves; read memory sees itself; write
    memory sees the whole segment. memory_sees_cache opens the cache to both memory blocks. With a
    window (same_length), a token sees only the last `window` tokens of the stream, itself
    included, cached ones among them; its view of the memory stays whole.
    """
    n_rows = n_read + n_tokens + n_write
    row = torch.arange(n_rows)[:, None]
    column = torch.arange(-n_cached, n_rows)[None, :]  # the cache has negative columns
    is_token_row = (row >= n_read) & (row < n_read + n_tokens)
    is_read_column = (column >= 0) & (column < n_read)

    # A token sees every column up to its own, a write row every row, a read row the read block.
    visible = torch.where(row < n_read, is_read_column, column >= 0)
    visible = torch.where(is_token_row, column <= row, visible)
    if memory_sees_cache:
        visible |= ~is_token_row & (column < 0)
    if window is not None:
        # The read block stands between cache and tokens but takes no place in the stream.
        place = torch.where(column < 0, column, column - n_read)
        visible &= ~is_token_row | is_read_column | (row - n_read - place < window)
    return ~visible.to(device)


@lru_cache(maxsize=64)
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


def attention_weights(
    *query_key_distance_and_biases: Tensor,
    masked_QK: Tensor,
    align: Callable[[Tensor, int], Tensor] = align_distances,
) -> Tensor:
    """The softmax of relative_scores over the keys that are not masked: [H, B, Q, K]."""
    scores_HBQK = relative_scores(*query_key_distance_and_biases, align=align)
    scores_HBQK = scores_HBQK.masked_fill(masked_QK, -math.inf)
    # At least fp32 inside the softmax, also under autocast.
    dtype = torch.promote_types(scores_HBQK.dtype, torch.float32)
    return F.softmax(scores_HBQK, dim=-1, dtype=dtype)


class _Read(torch.autograd.Function):
    """attention_weights @ values in few passes over the large tensors, [H, B, Q, K] or [.., R].

    The product that makes the content scores adds them to the position scores; of all these
    tensors only the weights are kept; backward, the gradient is laid out by distance once.
    """

    @staticmethod
    def forward(ctx, content_HBQd, position_HBQd, key_HBKd, value_HBKd, distance_HRd, mask, kept):
        """content, position: the scaled queries, each with its bias. mask [Q, K]: 0 or -inf. kept:
        what dropout multiplies the weights by, [H, B, Q, K], or None. All contiguous.
        """
        by_distance = _streams_joined(position_HBQd) @ distance_HRd.mT
        by_distance = by_distance.unflatten(1, position_HBQd.shape[1:3])
        scores_HBQK = align_distances(by_distance, mask.shape[1]) + mask
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


class KeyValueProjection(nn.Linear):
    """The matrix of keys and values, which is used before the rest of the attention is."""


class RelativeAttention(nn.Module):
    """Multi-head attention of the last Q rows of a context to the whole context.

    The biases u and v belong to the model, which shares them between layers.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.n_head * config.d_head
        self.n_head = config.n_head
        self.query = nn.Linear(config.d_model, width, bias=False)
        self.key_value = KeyValueProjection(config.d_model, 2 * width, bias=False)
        self.distance = nn.Linear(config.d_model, width, bias=False)
        self.output = nn.Linear(width, config.d_model, bias=False)
        self.dropatt = Dropout(config.dropatt)
        self.align = shift_as_published if config.shifts_as_published else align_distances

    def keys_values(self, context_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """What rows of the context offer to all queries: keys and values, [H, B, K, d] each."""
        keys, values = self.key_value(context_BKD).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def forward(
        self,
        x_BQD: Tensor,
        keys_values: tuple[Tensor, Tensor],
        distance_RD: Tensor,
        biases_2Hd: Tensor | tuple[Tensor, Tensor],
        masked_QK: Tensor,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return what the rows x, the last Q of the context, read from the whole: [B, Q, D].

        record: a list to which the weights are added, [H, B, Q, K], without dropout.
        """
        key_HBKd, value_HBKd = keys_values
        query_HBQd = self._heads(self.query(x_BQD))
        distance_HRd = self.distance(distance_RD).unflatten(-1, (self.n_head, -1)).transpose(0, 1)
        # Under autocast the biases would otherwise make the queries fp32 and back again.
        biases = [bias_Hd.to(query_HBQd.dtype) for bias_Hd in biases_2Hd]
        if record is not None:
            scored = (query_HBQd, key_HBKd, distance_HRd, *biases)
            record.append(attention_weights(*scored, masked_QK=masked_QK, align=self.align))
        read_HBQd = self.read(
            query_HBQd, key_HBKd, value_HBKd, distance_HRd, *biases, masked_QK=masked_QK
        )
        return self.output(read_HBQd.permute(1, 2, 0, 3).flatten(2))

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
        if self.align is not align_distances:
            rows = (query_HBQd, key_HBKd, distance_HRd, content_bias_Hd, position_bias_Hd)
            return self.read_plainly(*rows, value_HBKd=value_HBKd, masked_QK=masked_QK)
        scale = 1 / math.sqrt(query_HBQd.shape[-1])
        query_HBQd = query_HBQd * scale
        content_HBQd = query_HBQd + scale * content_bias_Hd[:, None, None]
        position_HBQd = query_HBQd + scale * position_bias_Hd[:, None, None]
        rows = (content_HBQd, position_HBQd, key_HBKd, value_HBKd, distance_HRd)
        mask_QK = torch.zeros_like(masked_QK, dtype=query_HBQd.dtype)
        mask_QK.masked_fill_(masked_QK, -math.inf)
        kept = self.dropatt.multipliers(
            (*query_HBQd.shape[:3], key_HBKd.shape[2]), query_HBQd.dtype, query_HBQd.device
        )
        with torch.autocast(query_HBQd.device.type, enabled=False):  # all have one dtype already
            return _Read.apply(*(x.contiguous() for x in rows), mask_QK, kept)

    def read_plainly(
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
