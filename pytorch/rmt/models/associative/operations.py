"""Floating-point operations of a forward pass, counted: products and sums of matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmt.models.transformer_xl import operations

if TYPE_CHECKING:
    from rmt.models.associative.options import AssociativeConfig


def layer_flops(config: AssociativeConfig, n_tokens: int, n_streams: int) -> int:
    """Operations of the forward pass of all layers over one segment: products and sums.

    Transformer-XL's layers over tokens and memory tokens, and reading and writing their memories.
    """
    rows = n_tokens + config.mem_len
    memories = config.n_layer * n_streams * memory_flops(config, rows)
    return operations.layer_flops(config, rows, n_streams) + memories


def memory_flops(config: AssociativeConfig, rows: int) -> int:
    """Of one layer and one stream: every row reads, the memory tokens write."""
    d_model, d_mem, n_features = config.d_model, config.d_mem, config.n_features
    has_z = config.memory_update != "delta"
    known = 2 * n_features * (d_model + has_z)  # of a row, with the denominator
    read = 2 * d_model * d_mem + known
    projections = 2 * d_model * (d_mem + d_model + 1)  # of key, value and strength
    change = 2 * n_features * d_model
    write = projections + known + change
    if not has_z:
        write += config.mem_len * (2 * n_features + d_model)  # among keys; the triangle solved
    return rows * read + config.mem_len * write
