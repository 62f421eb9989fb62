"""Floating-point operations of a training step, counted, and what the machine could do at best."""

import statistics
import time

import torch

from rmt.config import ModelConfig, TrainConfig
from rmt.hardware import wait_for


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
