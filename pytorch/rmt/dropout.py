"""Dropout whose random bits cost little on a CPU.

PyTorch's own draws one uniform number for every element there, which takes a quarter of a bf16
training step. Here 64 random bits serve four elements, 16 each.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # the probability is rounded to a multiple of 1 / LEVELS
_LOWEST_64, _LOWEST_16 = -(2**63), -(2**15)


class Dropout(nn.Module):
    """nn.Dropout, with the probability p rounded to 16 bits on a CPU; p in [0, 1).

    Its randomness is the default generator's of the device, so torch.manual_seed repeats it.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Each element is 0 with probability p, else divided by 1 - p, while training."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * multipliers(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def multipliers(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """What dropout multiplies by: 0 with probability p (rounded to 16 bits), else 1 / (1 - p)."""
    n_dropped = min(round(p * LEVELS), LEVELS - 1)  # of the 2^16 numbers that 16 bits can be
    n_elements = shape.numel()
    bits = torch.empty(-(-n_elements // 4), dtype=torch.int64).random_(_LOWEST_64, None)
    kept = bits.view(torch.int16).ge_(_LOWEST_16 + n_dropped)[:n_elements]
    return kept.view(shape).to(dtype).mul_(LEVELS / (LEVELS - n_dropped))
