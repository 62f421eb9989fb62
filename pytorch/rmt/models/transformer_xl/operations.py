"""Floating-point operations of a training step, counted, and what the machine could do at best."""

import statistics
import time
from itertools import pairwise

import numpy as np
import torch

from rmt.options.config import ModelConfig, TrainConfig
from rmt.runtime.machine import wait_for


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
    d_embed = config.d_embed or config.d_model
    per_word = 2 * d_embed * n_tokens
    projection = 2 * config.d_model * d_embed * n_tokens if d_embed != config.d_model else 0
    bounds = (0, *config.cutoffs, config.n_token)
    total = projection + per_word * (bounds[1] + len(config.cutoffs))
    frequency = word_frequencies(config.n_token)
    for low, high in pairwise(bounds[1:]):
        share = frequency[low:high].sum()
        total += share * (per_word * (high - low) + projection)
    return total


def word_frequencies(n_token: int) -> np.ndarray:
    """How frequent words are in text, about: float64 [n_token], the sum is 1.

    Proportional to 1 / (rank + 2.7)^1.2, so that of 267,735 words the 20,000 most frequent are
    nine tenths of the text.
    """
    frequency = (np.arange(n_token) + 3.7) ** -1.2
    return frequency / frequency.sum()


def step_flops(model: ModelConfig, config: TrainConfig, n_segments: int) -> int:
    """Operations of one optimizer step in the layers, over n_segments predicted and replayed.

    The backward pass has two products for each of the forward pass. What is computed a second time
    (checkpoint_segments) does not count.
    """
    share = config.batch_size // config.batch_chunk
    return 3 * n_segments * config.batch_chunk * layer_flops(model, config.tgt_len, share)


def matrix_rate(dtype: torch.dtype, device: torch.device, seconds: float = 0.5) -> float:
    """Operations per second in products of large matrices: the median of several."""
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    rates, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds or len(rates) < 3:
        wait_for(device)
        before = time.perf_counter()
        a @ b
        wait_for(device)
        rates.append(2 * size**3 / (time.perf_counter() - before))
    return statistics.median(rates)
