"""Tensors that are made once and used again, also by CUDA graphs.

A captured graph reads memory by its address. What it has read must therefore neither be freed nor
be made during the capture, which would be a copy from the host in every replay.
"""

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor


def kept(n_entries: int) -> Callable:
    """lru_cache for a function that makes a tensor; what a captured graph reads stays for good.

    While a CUDA graph is captured nothing can be made: RuntimeError for what no call has asked for
    since the last n_entries others.
    """

    def decorate(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        read_by_graphs: dict[int, Tensor] = {}

        @lru_cache(maxsize=n_entries)
        def made(*args, **kwargs) -> Tensor:
            if _capturing():
                raise RuntimeError(
                    f"{make.__name__}{args} must be made before a CUDA graph is captured: run the "
                    "same step once without capturing it"
                )
            return make(*args, **kwargs)

        @wraps(make)
        def handed_out(*args, **kwargs) -> Tensor:
            tensor = made(*args, **kwargs)
            if _capturing():
                read_by_graphs[id(tensor)] = tensor
            return tensor

        return handed_out

    return decorate


def _capturing() -> bool:
    # PyTorch without CUDA, or without a device, can't be asked.
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
