"""Transformer-XL attention over a segment with read and write memory.

Axes, as suffixes of tensor names:
    B batch (parallel streams)   Q queries: the last Q of the K keys   H heads
    D d_model                    K keys: [cache, read memory, tokens, write memory]   d d_head
    R relative distances, from K-1 (the oldest key seen by the last query) down to -n_ahead

Sources: Dai et al. 2019, "Transformer-XL", section 3.3 (relative positions); Bulatov et al. 2022,
"Recurrent Memory Transformer", section 3.2 and Figure 6(d) (which memory row sees what).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmt.config import ModelConfig
from rmt.dropout import Dropout


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


def align_distances(scores_BHQR: Tensor, n_keys: int) -> Tensor:
    """From one column per distance to one column per key: [B, H, Q, R] -> [B, H, Q, K].

    Query q, at key position K-Q+q, has key k at distance K-Q+q-k, which is column Q-1-q+k: each
    row starts one column before the row above it. Laying the rows end to end and cutting them
    again one element shorter makes exactly that shift, without copying. It needs R > K; cells
    whose distance is not in the table (below -n_ahead) hold other rows' scores and must be masked.
    """
    *_, n_queries, n_distances = scores_BHQR.shape
    row = n_distances - 1
    flat = scores_BHQR.flatten(-2)[..., n_queries - 1 : n_queries - 1 + n_queries * row]
    return flat.unflatten(-1, (n_queries, row))[..., :n_keys]


def relative_scores(
    query_BHQd: Tensor,
    key_BHKd: Tensor,
    distance_HRd: Tensor,
    content_bias_Hd: Tensor,
    position_bias_Hd: Tensor,
) -> Tensor:
    """Attention scores of Dai et al. 2019, section 3.3, before mask and softmax: [B, H, Q, K].

    score(i, j) = [(q_i + u) . k_j + (q_i + v) . W_r R(i-j)] / sqrt(d), with u the content bias,
    v the position bias and W_r R(i-j) the rows of distance_HRd, ordered from distance K-1 down.
    """
    # Under autocast the biases would otherwise make the queries fp32 and back again.
    content_bias_Hd = content_bias_Hd.to(query_BHQd.dtype)
    position_bias_Hd = position_bias_Hd.to(query_BHQd.dtype)
    content_BHQK = (query_BHQd + content_bias_Hd[:, None]) @ key_BHKd.transpose(-1, -2)
    position_BHQR = torch.einsum(
        "bhqd,hrd->bhqr", query_BHQd + position_bias_Hd[:, None], distance_HRd
    )
    scores_BHQK = content_BHQK + align_distances(position_BHQR, key_BHKd.shape[2])
    return scores_BHQK / math.sqrt(query_BHQd.shape[-1])


class RelativeAttention(nn.Module):
    """Multi-head attention of the last Q rows of a context to the whole context.

    The biases u and v belong to the model, which shares them between layers.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.n_head * config.d_head
        self.n_head = config.n_head
        self.query = nn.Linear(config.d_model, width, bias=False)
        self.key_value = nn.Linear(config.d_model, 2 * width, bias=False)
        self.distance = nn.Linear(config.d_model, width, bias=False)
        self.output = nn.Linear(width, config.d_model, bias=False)
        self.dropatt = Dropout(config.dropatt)

    def keys_values(self, context_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """What rows of the context offer to all queries: keys and values, [B, H, K, d] each."""
        keys, values = self.key_value(context_BKD).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def forward(
        self,
        x_BQD: Tensor,
        keys_values: tuple[Tensor, Tensor],
        distance_RD: Tensor,
        biases_2Hd: Tensor | tuple[Tensor, Tensor],
        masked_QK: Tensor,
    ) -> Tensor:
        """Return what the rows x, the last Q of the context, read from the whole: [B, Q, D]."""
        key_BHKd, value_BHKd = keys_values
        content_bias_Hd, position_bias_Hd = biases_2Hd
        distance_HRd = self.distance(distance_RD).unflatten(-1, (self.n_head, -1)).transpose(0, 1)
        scores_BHQK = relative_scores(
            self._heads(self.query(x_BQD)),
            key_BHKd,
            distance_HRd,
            content_bias_Hd,
            position_bias_Hd,
        ).masked_fill(masked_QK, -math.inf)
        # At least fp32 inside the softmax, also under autocast.
        softmax_dtype = torch.promote_types(scores_BHQK.dtype, torch.float32)
        weights_BHQK = F.softmax(scores_BHQK, dim=-1, dtype=softmax_dtype)
        read_BHQd = self.dropatt(weights_BHQK.to(value_BHKd.dtype)) @ value_BHKd
        return self.output(read_BHQd.transpose(1, 2).flatten(2))

    def _heads(self, rows_BNX: Tensor) -> Tensor:
        """Split the last axis into heads: [B, N, H*d] -> [B, H, N, d]."""
        return rows_BNX.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
