"""The Triton kernels of fused.py, which says how they go over queries and keys.

One program for each head, stream and tile of rows. Pointers carry the names of their tensors,
loaded tiles the axes of theirs. Rows and columns beyond a tensor's end are loaded as 0.

Axes are in this folder's __init__.py.
"""

import triton
import triton.language as tl


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
def rmt_attention_forward(
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
def rmt_attention_backward_queries(
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
def rmt_attention_backward_keys(
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
    """The gradients of keys and values, once the mean that the queries' kernel writes is there."""
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
