"""The arithmetic of --precision."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import torch
from torch import Tensor

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What linear, matmul and einsum are made of, outside --compile.
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_")
_kernels = torch.library.Library("aten", "IMPL")


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Inside, matrix products take fp32 weights and run in this precision."""
    if precision == "fp32":
        return nullcontext()
    if device.type == "cpu" and not has_bf16():
        multiply_bf16_in_fp32()
    return torch.autocast(device.type, DTYPES[precision])


@cache
def has_bf16() -> bool:
    """Whether PyTorch has fast bf16 products for this CPU (on x86, one with AVX-512)."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@cache
def multiply_bf16_in_fp32() -> None:
    """From now on multiply bf16 matrices on the CPU as fp32 ones, and round the product to bf16.

    That is what bf16 instructions do, too: bf16 factors, fp32 sums, rounded at the end. Without
    them PyTorch multiplies number by number, a hundred times slower than in fp32.
    """
    for name in PRODUCTS:
        product = torch.library.get_kernel(f"aten::{name}", "CPU").call_boxed
        in_fp32 = partial(_in_fp32, product, name.endswith("_"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            _kernels.impl(name, in_fp32, "CPU", with_keyset=True, allow_override=True)


def _in_fp32(product: Callable, in_place: bool, keys, first: Tensor, *others: Tensor, **scales):
    """What replaces a kernel of PRODUCTS; it is for other dtypes, too."""
    if any(factor.dtype != torch.bfloat16 for factor in (first, *others)):
        return product(keys, first, *others, **scales)
    result = product(keys, first.float(), *(other.float() for other in others), **scales)
    return first.copy_(result) if in_place else result.bfloat16()
