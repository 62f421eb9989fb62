"""Which way to read a model takes (--attention).

Every way computes formula.attention_weights times values. A way that can't read some tensors, such
as a CPU's by a kernel for GPUs, leaves them to plain.py.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rmt.models.transformer_xl.attention import plain
from rmt.runtime.errors import UsageError


def reader(attention: str) -> Callable[..., Tensor]:
    """The function that reads, for a value of --attention; auto is plain until a GPU has compared.

    Raises UsageError where this machine has not what it needs.
    """
    if attention == "flex":
        from rmt.models.transformer_xl.attention import flex

        return partial(_read, flex.read, flex.can_read)
    if attention == "triton":
        fused = _fused()
        return partial(_read, fused.read, fused.can_read)
    return plain.read


def _fused():
    """The module of Triton's kernels, which imports Triton."""
    try:
        from rmt.models.transformer_xl.attention import fused
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise UsageError(
            "--attention triton needs Triton, which is not installed here: pip install triton"
        ) from None
    if not (torch.cuda.is_available() or fused.INTERPRETED):
        raise UsageError("--attention triton needs a CUDA device, and there is none: leave it out")
    return fused


def _read(read: Callable, can_read: Callable, query_HBQd: Tensor, *rows: Tensor, **how) -> Tensor:
    return (read if can_read(query_HBQd) else plain.read)(query_HBQd, *rows, **how)
