"""What a machine can do at best."""

import statistics
import time

import torch

from rmt.runtime.device import wait_for


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
