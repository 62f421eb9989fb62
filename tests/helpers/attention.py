"""Masks of all models, and what a way to read gives under them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rmt.models.transformer_xl.attention.formula import attention_weights, masked_keys
from rmt.models.transformer_xl.dropout import Dropout

NAMES = ("read", "query", "key", "value", "distance", "content bias", "position bias")

# Cached, read, token and write rows; how many of the last rows are queries (None: all); the rest.
SEGMENTS = {
    "baseline": ((0, 0, 7, 0), None, {}),
    "one token": ((0, 0, 1, 0), None, {}),
    "mt": ((0, 2, 7, 0), None, {}),
    "trxl": ((9, 0, 7, 0), None, {}),
    "trxl with equal lengths": ((9, 0, 7, 0), None, {"window": 5}),
    "rmt": ((0, 3, 7, 3), None, {}),
    "the last layer of rmt": ((0, 3, 7, 3), 10, {}),
    "the last layer of rmt without predictions": ((0, 3, 7, 3), 3, {}),
    "trxl_rmt": ((9, 2, 7, 2), None, {}),
    "trxl_rmt, whose memory sees the cache": ((9, 2, 7, 2), None, {"memory_sees_cache": True}),
    "trxl_rmt with equal lengths": ((9, 2, 7, 2), 9, {"window": 5}),
    "several tiles": ((70, 3, 66, 3), None, {}),
}


def mask_of(segment: str) -> Tensor:
    """One of SEGMENTS: [Q, K]."""
    sizes, n_queries, how = SEGMENTS[segment]
    masked = masked_keys(*sizes, **how)
    return masked[-n_queries:] if n_queries else masked


def random_rows(
    masked_QK: Tensor, d_head: int = 5, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> list[Tensor]:
    """Two heads and three streams: query, key, value, distance and both biases."""
    generator = torch.Generator().manual_seed(0)
    (n_queries, n_keys), n_ahead = masked_QK.shape, 3
    shapes = [
        (2, 3, n_queries, d_head),
        *[(2, 3, n_keys, d_head)] * 2,
        (2, n_keys + n_ahead, d_head),
        *[(2, d_head)] * 2,
    ]
    drawn = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return [rows.to(device, dtype).requires_grad_() for rows in drawn]


def by_formula(query, key, value, *distance_and_biases, masked_QK: Tensor) -> Tensor:
    return attention_weights(query, key, *distance_and_biases, masked_QK=masked_QK) @ value


def values_and_gradients(read: Callable[..., Tensor], rows: Sequence[Tensor]) -> list[Tensor]:
    """What is read, and the gradients of one number made of it: the order is that of NAMES."""
    found = read(*rows)
    # Of some rows more than of others.
    weights = torch.linspace(0.5, 1.5, found.numel(), dtype=found.dtype, device=found.device)
    return [found, *torch.autograd.grad((found * weights.view_as(found)).sum(), rows)]


def assert_reads_as_the_formula(
    read: Callable[..., Tensor],
    masked_QK: Tensor,
    dtype: torch.dtype,
    tolerance: float,
    d_head: int = 5,
    device: str = "cpu",
) -> None:
    """Values and every gradient, against the formula in float64.

    tolerance: of a norm, or of 1 where that is larger, for a gradient may be 0.
    """
    masked = masked_QK.to(device)
    rows = random_rows(masked_QK, d_head, dtype, device)
    exact = [row.detach().double().cpu().requires_grad_() for row in rows]
    no_dropout = Dropout(0.0)
    found = values_and_gradients(
        lambda *rows: read(*rows, masked_QK=masked, dropatt=no_dropout), rows
    )
    expected = values_and_gradients(lambda *rows: by_formula(*rows, masked_QK=masked_QK), exact)
    for name, mine, its in zip(NAMES, found, expected, strict=True):
        assert mine.dtype == dtype
        assert (mine.double().cpu() - its).norm() <= tolerance * max(1.0, its.norm()), name
