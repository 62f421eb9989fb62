"""What rows read, by Triton kernels that write neither content scores nor weights.

    forward   a tile of queries goes over the keys, tile by tile, with a running maximum and sum
    backward  weights are computed anew from the logarithm of that sum: once over the keys for each
              tile of queries, once over the queries for each tile of keys; nothing is added up by
              several programs at once, so that equal inputs give equal gradients, bit for bit

Position scores [H, B, Q, R] are made outside by one product, which PyTorch's autograd knows how to
differentiate, and are read here where align_distances would put them. They are the one tensor of
the size of the scores that is written, and so is their gradient. plain.py is the naive twin.

Axes are in this folder's __init__.py. Source of the algorithm: Dao 2023, "FlashAttention-2".
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rmt.models.transformer_xl.attention.formula import biased_queries, position_scores
from rmt.models.transformer_xl.dropout import Dropout

# Triton's interpreter (TRITON_INTERPRET=1 before Triton is imported) runs kernels on any device.
INTERPRETED = triton.knobs.runtime.interpret


def can_read(query_HBQd: Tensor) -> bool:
    """Whether the kernels run on a tensor's device, for its dtype and its size of heads."""
    dtype, d_head = query_HBQd.dtype, query_HBQd.shape[-1]
    if INTERPRETED:
        return dtype != torch.bfloat16  # which the interpreter multiplies wrongly
    # Tritons that come with PyTorch 2.11 can't compile products of float64.
    return query_HBQd.is_cuda and dtype != torch.float64 and d_head <= 128


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
    """The values weighted by formula.attention_weights, with dropout on these: [H, B, Q, d].

    Sums are fp32 for bf16, fp16 and fp32. A row that sees no key reads 0.
    """
    content_HBQd, position_HBQd = biased_queries(query_HBQd, content_bias_Hd, position_bias_Hd)
    position_HBQR = position_scores(position_HBQd, distance_HRd)
    dropped = dropatt.p if dropatt.training else 0.0
    # A seed on the device: nothing waits for it, and a CUDA graph draws a new one at every replay.
    seed = torch.randint(2**62, (1,), device=query_HBQd.device) if dropped else None
    rows = (content_HBQd, key_HBKd, value_HBKd, position_HBQR)
    return read_rows(*rows, masked_QK, seed, dropped)[0]


# --- the operator that PyTorch and its compiler see -----------------------------------------------


@torch.library.custom_op("rmt::read_rows", mutates_args=())
def read_rows(
    query_HBQd: Tensor,
    key_HBKd: Tensor,
    value_HBKd: Tensor,
    position_HBQR: Tensor,
    masked_QK: Tensor,
    seed: Tensor | None,
    dropped: float,
) -> tuple[Tensor, Tensor]:
    """What rows read, [H, B, Q, d], and the logarithm of the sum under the softmax, [H, B, Q].

    query: scaled and with the content bias. seed: int64 [1], of the dropout, which leaves a weight
    out with probability `dropped`.
    """
    (n_heads, n_streams, n_queries, d_head), n_keys = query_HBQd.shape, key_HBKd.shape[2]
    read_HBQd, log_sum_HBQ = _like_heads(query_HBQd), _log_sums(query_HBQd)
    inputs = _launchable(query_HBQd, key_HBKd, value_HBKd)
    sizes = _sizes(d_head, query_HBQd.dtype)
    n_tiles = triton.cdiv(n_queries, sizes["BLOCK_Q"])
    _read[(n_heads * n_streams * n_tiles,)](
        *inputs,
        position_HBQR.contiguous(),
        masked_QK.contiguous().view(torch.uint8),
        seed,
        read_HBQd,
        log_sum_HBQ,
        *(x.stride() for x in (*inputs, read_HBQd)),
        n_streams,
        n_queries,
        n_keys,
        position_HBQR.shape[3],
        dropped,
        **sizes,
    )
    return read_HBQd, log_sum_HBQ


@read_rows.register_fake
def _(query_HBQd, key_HBKd, value_HBKd, position_HBQR, masked_QK, seed, dropped):
    return _like_heads(query_HBQd), _log_sums(query_HBQd)


@torch.library.custom_op("rmt::read_rows_backward", mutates_args=())
def read_rows_backward(
    d_read_HBQd: Tensor,
    query_HBQd: Tensor,
    key_HBKd: Tensor,
    value_HBKd: Tensor,
    position_HBQR: Tensor,
    masked_QK: Tensor,
    read_HBQd: Tensor,
    log_sum_HBQ: Tensor,
    seed: Tensor | None,
    dropped: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value and position scores."""
    (n_heads, n_streams, n_queries, d_head), n_keys = query_HBQd.shape, key_HBKd.shape[2]
    d_query, d_key, d_value = (_like_heads(x) for x in (query_HBQd, key_HBKd, value_HBKd))
    # Most distances have no key in some row, and that row's gradient for them is 0.
    d_position_HBQR = torch.zeros_like(position_HBQR, memory_format=torch.contiguous_format)
    mean_HBQ = torch.empty_like(log_sum_HBQ)
    inputs = _launchable(query_HBQd, key_HBKd, value_HBKd, d_read_HBQd)
    read_from = (
        position_HBQR.contiguous(),
        masked_QK.contiguous().view(torch.uint8),
        seed,
        log_sum_HBQ,
        mean_HBQ,
    )
    numbers = (n_streams, n_queries, n_keys, position_HBQR.shape[3], dropped)
    strides = [x.stride() for x in inputs]
    sizes = _sizes(d_head, query_HBQd.dtype)
    _read_backward_queries[(n_heads * n_streams * triton.cdiv(n_queries, sizes["BLOCK_Q"]),)](
        *inputs,
        *read_from,
        read_HBQd,
        d_query,
        d_position_HBQR,
        *strides,
        read_HBQd.stride(),
        d_query.stride(),
        *numbers,
        **sizes,
    )
    _read_backward_keys[(n_heads * n_streams * triton.cdiv(n_keys, sizes["BLOCK_K"]),)](
        *inputs,
        *read_from,
        d_key,
        d_value,
        *strides,
        d_key.stride(),
        *numbers,
        **sizes,
    )
    return d_query, d_key, d_value, d_position_HBQR


@read_rows_backward.register_fake
def _(d_read, query, key, value, position, masked, read, log_sum, seed, dropped):
    d_position = torch.empty_like(position, memory_format=torch.contiguous_format)
    return _like_heads(query), _like_heads(key), _like_heads(value), d_position


def _save(ctx, inputs, output) -> None:
    *rows, masked_QK, seed, dropped = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*rows, masked_QK, *output, seed)
    ctx.dropped = dropped


def _backward(ctx, d_read_HBQd, _):
    gradients = read_rows_backward(d_read_HBQd, *ctx.saved_tensors, ctx.dropped)
    return *gradients, None, None, None


read_rows.register_autograd(_backward, setup_context=_save)


def _like_heads(x_HBNd: Tensor) -> Tensor:
    """Room for rows of heads that lie as the projections do, [B, N, H, d], so that the heads'
    outputs are joined without a copy."""
    n_heads, n_streams, n_rows, d_head = x_HBNd.shape
    return x_HBNd.new_empty(n_streams, n_rows, n_heads, d_head).permute(2, 0, 1, 3)


def _log_sums(query_HBQd: Tensor) -> Tensor:
    dtype = torch.promote_types(query_HBQd.dtype, torch.float32)
    return query_HBQd.new_empty(query_HBQd.shape[:3], dtype=dtype)


def _launchable(*tensors: Tensor) -> list[Tensor]:
    """With the elements of a row beside each other, as the kernels expect."""
    return [x if x.stride(-1) == 1 else x.contiguous() for x in tensors]


def _sizes(d_head: int, dtype: torch.dtype) -> dict[str, object]:
    """The sizes of tiles and how they are multiplied.

    Chosen by what fits the registers of an H100 (compiled for it, not timed). Only fp32 reads
    PRECISION: as PyTorch's own products, by tensor cores with rounded factors where the user allows
    it. Otherwise three such products make up for the rounding; fp32 units would need more registers
    than there are.
    """
    n_rows = 64 if dtype.itemsize == 2 else 32
    exact = torch.get_float32_matmul_precision() == "highest"
    return {
        "D": d_head,
        "BLOCK_D": max(16, triton.next_power_of_2(d_head)),  # tl.dot takes no less than 16
        "BLOCK_Q": n_rows,
        "BLOCK_K": n_rows,
        "PRECISION": "tf32x3" if exact else "tf32",
        "num_warps": 8,
        "num_stages": 2,
    }


# --- the kernels ----------------------------------------------------------------------------------
#
# One program for each head, stream and tile of rows. Pointers carry the names of their tensors,
# loaded tiles the axes of theirs. Rows and columns beyond a tensor's end are loaded as 0.


@triton.jit
def _tile(start, strides, head, stream, rows, n_rows, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Addresses of some rows of a tensor [H, B, N, d], and which are inside it."""
    columns = tl.arange(0, BLOCK_D)
    start += head.to(tl.int64) * strides[0] + stream.to(tl.int64) * strides[1]
    inside = (rows[:, None] < n_rows) & (columns[None, :] < D)
    return start + rows[:, None] * strides[2] + columns[None, :], inside


@triton.jit
def _load(start, strides, head, stream, rows, n_rows, D: tl.constexpr, BLOCK_D: tl.constexpr):
    place, inside = _tile(start, strides, head, stream, rows, n_rows, D, BLOCK_D)
    return tl.load(place, mask=inside, other=0.0)


@triton.jit
def _store(x, start, strides, head, stream, rows, n_rows, D: tl.constexpr, BLOCK_D: tl.constexpr):
    place, inside = _tile(start, strides, head, stream, rows, n_rows, D, BLOCK_D)
    tl.store(place, x.to(start.dtype.element_ty), mask=inside)


@triton.jit
def _place(queries, keys, n_queries, n_keys, n_distances):
    """Where a tile's scores lie among a head's position scores [Q, R], and which are inside.

    Key k of query q is in column Q-1-q+k (formula.align_distances).
    """
    column = n_queries - 1 - queries[:, None] + keys[None, :]
    inside = (queries[:, None] < n_queries) & (keys[None, :] < n_keys) & (column < n_distances)
    return queries[:, None] * n_distances + column, inside


@triton.jit
def _scores(
    query_Qd,
    key_Kd,
    position,
    masked,
    queries,
    keys,
    n_queries,
    n_keys,
    n_distances,
    PRECISION: tl.constexpr,
):
    """Of a tile of queries and keys, -inf where a key is masked: [Q, K]."""
    place, inside = _place(queries, keys, n_queries, n_keys, n_distances)
    hidden = tl.load(masked + queries[:, None] * n_keys + keys[None, :], mask=inside, other=1)
    visible = hidden == 0
    content_QK = tl.dot(query_Qd, tl.trans(key_Kd), input_precision=PRECISION)
    position_QK = tl.load(position + place, mask=visible, other=0.0)
    return tl.where(visible, content_QK + position_QK, -float("inf"))


@triton.jit
def _kept(seed, pair, queries, keys, n_keys, dropped):
    """What dropout multiplies a tile's weights by; every pair of head and stream has its seed."""
    random = tl.rand(tl.load(seed) + pair, queries[:, None] * n_keys + keys[None, :])
    return tl.where(random >= dropped, 1 / (1 - dropped), 0.0)


@triton.jit
def _read(
    query,
    key,
    value,
    position,
    masked,
    seed,
    read,
    log_sum,
    query_strides,
    key_strides,
    value_strides,
    read_strides,
    n_streams,
    n_queries,
    n_keys,
    n_distances,
    dropped,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    n_tiles = tl.cdiv(n_queries, BLOCK_Q)
    pair = tl.program_id(0) // n_tiles
    head, stream = pair // n_streams, pair % n_streams
    queries = tl.program_id(0) % n_tiles * BLOCK_Q + tl.arange(0, BLOCK_Q)
    position += pair.to(tl.int64) * n_queries * n_distances
    log_sum += pair * n_queries

    query_Qd = _load(query, query_strides, head, stream, queries, n_queries, D, BLOCK_D)
    sum_type = log_sum.dtype.element_ty
    largest_Q = tl.full([BLOCK_Q], -float("inf"), sum_type)
    sum_Q = tl.zeros([BLOCK_Q], sum_type)
    read_Qd = tl.zeros([BLOCK_Q, BLOCK_D], sum_type)
    for first in range(0, n_keys, BLOCK_K):
        keys = first + tl.arange(0, BLOCK_K)
        key_Kd = _load(key, key_strides, head, stream, keys, n_keys, D, BLOCK_D)
        value_Kd = _load(value, value_strides, head, stream, keys, n_keys, D, BLOCK_D)
        scores_QK = _scores(
            query_Qd,
            key_Kd,
            position,
            masked,
            queries,
            keys,
            n_queries,
            n_keys,
            n_distances,
            PRECISION,
        )
        # A row that has seen no key yet has no maximum: any number but -inf will do.
        larger_Q = tl.maximum(largest_Q, tl.max(scores_QK, 1))
        base_Q = tl.where(larger_Q == -float("inf"), 0.0, larger_Q)
        weights_QK = tl.exp(scores_QK - base_Q[:, None])
        shrunk_Q = tl.exp(largest_Q - base_Q)
        sum_Q = sum_Q * shrunk_Q + tl.sum(weights_QK, 1)
        if seed is not None:
            weights_QK *= _kept(seed, pair, queries, keys, n_keys, dropped)
        read_Qd = read_Qd * shrunk_Q[:, None]
        read_Qd += tl.dot(weights_QK.to(value_Kd.dtype), value_Kd, input_precision=PRECISION)
        largest_Q = larger_Q

    saw_none_Q = sum_Q == 0
    sum_Q = tl.where(saw_none_Q, 1.0, sum_Q)
    _store(
        (read_Qd / sum_Q[:, None]), read, read_strides, head, stream, queries, n_queries, D, BLOCK_D
    )
    log_sum_Q = tl.where(saw_none_Q, 0.0, largest_Q) + tl.log(sum_Q)
    tl.store(log_sum + queries, log_sum_Q, mask=queries < n_queries)


@triton.jit
def _read_backward_queries(
    query,
    key,
    value,
    d_read,
    position,
    masked,
    seed,
    log_sum,
    mean,
    read,
    d_query,
    d_position,
    query_strides,
    key_strides,
    value_strides,
    d_read_strides,
    read_strides,
    d_query_strides,
    n_streams,
    n_queries,
    n_keys,
    n_distances,
    dropped,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradients of queries and position scores; and the mean over the keys of the weights'
    gradients, by these weights, which the softmax's gradient subtracts."""
    n_tiles = tl.cdiv(n_queries, BLOCK_Q)
    pair = tl.program_id(0) // n_tiles
    head, stream = pair // n_streams, pair % n_streams
    queries = tl.program_id(0) % n_tiles * BLOCK_Q + tl.arange(0, BLOCK_Q)
    position += pair.to(tl.int64) * n_queries * n_distances
    d_position += pair.to(tl.int64) * n_queries * n_distances
    log_sum += pair * n_queries
    mean += pair * n_queries

    query_Qd = _load(query, query_strides, head, stream, queries, n_queries, D, BLOCK_D)
    d_read_Qd = _load(d_read, d_read_strides, head, stream, queries, n_queries, D, BLOCK_D)
    read_Qd = _load(read, read_strides, head, stream, queries, n_queries, D, BLOCK_D)
    log_sum_Q = tl.load(log_sum + queries, mask=queries < n_queries, other=0.0)
    sum_type = log_sum.dtype.element_ty
    # sum_k weight_k d_weight_k, for d_weight_k = kept_k (d_read . value_k).
    mean_Q = tl.sum(read_Qd.to(sum_type) * d_read_Qd.to(sum_type), 1)
    tl.store(mean + queries, mean_Q, mask=queries < n_queries)

    d_query_Qd = tl.zeros([BLOCK_Q, BLOCK_D], sum_type)
    for first in range(0, n_keys, BLOCK_K):
        keys = first + tl.arange(0, BLOCK_K)
        key_Kd = _load(key, key_strides, head, stream, keys, n_keys, D, BLOCK_D)
        value_Kd = _load(value, value_strides, head, stream, keys, n_keys, D, BLOCK_D)
        scores_QK = _scores(
            query_Qd,
            key_Kd,
            position,
            masked,
            queries,
            keys,
            n_queries,
            n_keys,
            n_distances,
            PRECISION,
        )
        weights_QK = tl.exp(scores_QK - log_sum_Q[:, None])
        d_weights_QK = tl.dot(d_read_Qd, tl.trans(value_Kd), input_precision=PRECISION)
        if seed is not None:
            d_weights_QK *= _kept(seed, pair, queries, keys, n_keys, dropped)
        d_scores_QK = (weights_QK * (d_weights_QK - mean_Q[:, None])).to(key_Kd.dtype)
        place, inside = _place(queries, keys, n_queries, n_keys, n_distances)
        tl.store(d_position + place, d_scores_QK, mask=inside)
        d_query_Qd += tl.dot(d_scores_QK, key_Kd, input_precision=PRECISION)

    _store(d_query_Qd, d_query, d_query_strides, head, stream, queries, n_queries, D, BLOCK_D)


@triton.jit
def _read_backward_keys(
    query,
    key,
    value,
    d_read,
    position,
    masked,
    seed,
    log_sum,
    mean,
    d_key,
    d_value,
    query_strides,
    key_strides,
    value_strides,
    d_read_strides,
    d_key_strides,
    n_streams,
    n_queries,
    n_keys,
    n_distances,
    dropped,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradients of keys and values, once the mean of _read_backward_queries is there."""
    n_tiles = tl.cdiv(n_keys, BLOCK_K)
    pair = tl.program_id(0) // n_tiles
    head, stream = pair // n_streams, pair % n_streams
    keys = tl.program_id(0) % n_tiles * BLOCK_K + tl.arange(0, BLOCK_K)
    position += pair.to(tl.int64) * n_queries * n_distances
    log_sum += pair * n_queries
    mean += pair * n_queries

    key_Kd = _load(key, key_strides, head, stream, keys, n_keys, D, BLOCK_D)
    value_Kd = _load(value, value_strides, head, stream, keys, n_keys, D, BLOCK_D)
    sum_type = log_sum.dtype.element_ty
    d_key_Kd = tl.zeros([BLOCK_K, BLOCK_D], sum_type)
    d_value_Kd = tl.zeros([BLOCK_K, BLOCK_D], sum_type)
    for first in range(0, n_queries, BLOCK_Q):
        queries = first + tl.arange(0, BLOCK_Q)
        query_Qd = _load(query, query_strides, head, stream, queries, n_queries, D, BLOCK_D)
        d_read_Qd = _load(d_read, d_read_strides, head, stream, queries, n_queries, D, BLOCK_D)
        log_sum_Q = tl.load(log_sum + queries, mask=queries < n_queries, other=0.0)
        mean_Q = tl.load(mean + queries, mask=queries < n_queries, other=0.0)
        scores_QK = _scores(
            query_Qd,
            key_Kd,
            position,
            masked,
            queries,
            keys,
            n_queries,
            n_keys,
            n_distances,
            PRECISION,
        )
        weights_QK = tl.exp(scores_QK - log_sum_Q[:, None])
        d_weights_QK = tl.dot(d_read_Qd, tl.trans(value_Kd), input_precision=PRECISION)
        used_QK = weights_QK
        if seed is not None:
            kept_QK = _kept(seed, pair, queries, keys, n_keys, dropped)
            used_QK = weights_QK * kept_QK
            d_weights_QK *= kept_QK
        d_scores_QK = weights_QK * (d_weights_QK - mean_Q[:, None])
        d_value_Kd += tl.dot(
            tl.trans(used_QK.to(d_read_Qd.dtype)), d_read_Qd, input_precision=PRECISION
        )
        d_key_Kd += tl.dot(
            tl.trans(d_scores_QK.to(query_Qd.dtype)), query_Qd, input_precision=PRECISION
        )

    _store(d_key_Kd, d_key, d_key_strides, head, stream, keys, n_keys, D, BLOCK_D)
    _store(d_value_Kd, d_value, d_key_strides, head, stream, keys, n_keys, D, BLOCK_D)
