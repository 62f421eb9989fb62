"""Floating-point operations of a forward pass, counted: products and sums of matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rmt.models.transformer_xl.options import ModelConfig


def layer_flops(config: ModelConfig, n_tokens: int, n_streams: int) -> int:
    """Operations of the forward pass of all layers over one segment: products and sums.

    Matrix products alone, of every row of every layer, with the memory tokens; the cache is full.
    """
    rows = config.n_memory + n_tokens + config.n_write
    keys = config.n_cached + rows
    distances = keys + max(1, config.n_memory)
    width = config.n_head * config.d_head
    projections = 2 * config.d_model * width * (rows + 2 * keys + rows)  # of q, of k and v, of out
    scores_and_read = 2 * width * rows * (keys + distances + keys)
    feed_forward = 2 * 2 * config.d_model * config.d_inner * rows
    of_distances = 2 * config.d_model * width * distances  # the same for all streams
    in_streams = n_streams * (projections + scores_and_read + feed_forward)
    return config.n_layer * (in_streams + of_distances)


def softmax_flops(config: ModelConfig, n_tokens: int) -> float:
    """Operations of the forward pass of the softmax over some predictions.

    With cutoffs, clusters are assumed to be met as often as word_frequencies says.
    """
    bounds = (0, *config.cutoffs, config.n_token)
    frequency = word_frequencies(config.n_token)
    total = 0
    for i, (n_words, d_embed) in enumerate(config.embedding_sizes):
        share = frequency[bounds[i] : bounds[i + 1]].sum() if i else 1
        n_columns = n_words if i else n_words + len(config.cutoffs)
        projection = config.d_model * d_embed if config.projects_embeddings else 0
        total += share * 2 * n_tokens * (d_embed * n_columns + projection)
    return total


def word_frequencies(n_token: int) -> np.ndarray:
    """How frequent words are in text, about: float64 [n_token], the sum is 1.

    Proportional to 1 / (rank + 2.7)^1.2, so that of 267,735 words the 20,000 most frequent are
    nine tenths of the text.
    """
    frequency = (np.arange(n_token) + 3.7) ** -1.2
    return frequency / frequency.sum()
