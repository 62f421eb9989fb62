"""Which kind of kernel a GPU's time goes to in a training step."""

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch.profiler import ProfilerActivity, profile

from rmt.runtime.device import wait_for

# The first that a kernel's name contains one of. Of Triton kernels the compiler names are lists of
# what they fuse, so the dearest comes first.
KINDS = {
    "attention": ("flex_attention", "fmha", "flash", "rmt_attention"),
    "products": ("gemm", "nvjet", "cutlass", "cublas", "splitkreduce", "gemv", "wmma", "_mm"),
    "optimizer": ("adam", "sgd", "adagrad", "multi_tensor_apply"),
    "norm": ("layer_norm", "layernorm"),
    "softmax": ("softmax", "nll_loss", "cross_entropy"),
    "dropout": ("dropout", "philox", "random"),
    "copies": ("memcpy", "memset", "copy", "catarray", "index", "embedding", "gather", "scatter"),
    "sums": ("reduce", "norm", "sum"),
    "element-wise": ("elementwise", "vectorized", "triton_poi", "pointwise"),
}
OTHER = "other"


def kind(name: str) -> str:
    """What a kernel does, by its name."""
    name = name.lower()
    for what, parts in KINDS.items():
        if any(part in name for part in parts):
            return what
    return OTHER


def kernels(step: Callable[[], None], device: torch.device) -> dict:
    """Of one call of step: the kernels' number, their seconds in all and those of each kind."""
    wait_for(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        step()
        wait_for(device)
    events = found.events()
    return summary(
        (event.name, event.device_time / 1e6)
        for event in events
        if event.device_type == torch.autograd.DeviceType.CUDA
    )


def summary(named: Iterable[tuple[str, float]]) -> dict:
    """Of kernels' names and seconds."""
    number, seconds = 0, Counter()
    for name, time in named:
        number += 1
        seconds[kind(name)] += time
    return {
        "number": number,
        "seconds": sum(seconds.values()),
        "kinds": dict(seconds.most_common()),
    }
