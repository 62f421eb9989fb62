"""What rows read, by Triton kernels that write neither content scores nor weights.

    forward   a tile of queries goes over the keys, tile by tile, with a running maximum and sum
    backward  weights are computed anew from the logarithm of that sum: once over the keys for each
              tile of queries, once over the queries for each tile of keys; nothing is added up by
              several programs at once, so that equal inputs give equal gradients, bit for bit

Position scores [H, B, Q, R] are made outside by one product, which PyTorch's autograd knows how to
differentiate, and are read here where align_distances would put them. They are the one tensor of
the size of the scores that is written, and so is their gradient. The naive twin is
attention_weights in formula.py, times the values.

Axes are in this folder's __init__.py. Source of the algorithm: Dao 2023, "FlashAttention-2".
"""

import torch
import triton
from torch import Tensor

from rmt.models.transformer_xl.attention import kernels
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


# The operator that PyTorch and its compiler see


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
    kernels.rmt_attention_forward[(n_heads * n_streams * n_tiles,)](
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
    kernels.rmt_attention_backward_queries[
        (n_heads * n_streams * triton.cdiv(n_queries, sizes["BLOCK_Q"]),)
    ](
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
    kernels.rmt_attention_backward_keys[
        (n_heads * n_streams * triton.cdiv(n_keys, sizes["BLOCK_K"]),)
    ](
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
