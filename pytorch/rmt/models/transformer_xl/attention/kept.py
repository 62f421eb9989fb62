"""Tensors that are made once and used again, also by CUDA graphs.

A captured graph reads memory by its address. What it has read must therefore neither be freed nor
be made during the capture, which would be a copy from the host in every replay.
"""

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def kept(n_entries: int) -> Callable:
    """lru_cache for a function that makes a tensor; what a captured graph reads stays for good.

    What is kept serves every later call. So it is made as without inference_mode, whose tensors no
    backward pass takes, and nothing is kept where PyTorch makes other tensors than usual.

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
            with torch.inference_mode(False):
                return make(*args, **kwargs)

        @wraps(make)
        def handed_out(*args, **kwargs) -> Tensor:
            if _makes_others():
                return make(*args, **kwargs)
            tensor = made(*args, **kwargs)
            if _capturing():
                read_by_graphs[id(tensor)] = tensor
            return tensor

        return handed_out

    return decorate


def _capturing() -> bool:
    # PyTorch without CUDA, or without a device, can't be asked.
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _makes_others() -> bool:
    """Whether a mode (of fake tensors, of tracing) or a transform of torch.func is on."""
    return is_in_torch_dispatch_mode() or peek_interpreter_stack() is not None
