"""Dropout whose random bits cost little on a CPU.

PyTorch's own draws one uniform number for every element there, which takes a quarter of a bf16
training step. Here 64 random bits serve four elements, 16 each.
"""

import math

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
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        kept = self.multipliers(x.shape, x.dtype, x.device)
        return x if kept is None else x * kept

    def multipliers(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> Tensor | None:
        """What elements are multiplied by: 0 or 1 / (1 - p); None where nothing is dropped."""
        if not self.training or not self.p:
            return None
        if torch.device(device).type != "cpu":
            return F.dropout(torch.ones(shape, dtype=dtype, device=device), self.p)
        n_dropped = min(round(self.p * LEVELS), LEVELS - 1)  # of the numbers that 16 bits can be
        n_elements = math.prod(shape)
        bits = torch.empty(-(-n_elements // 4), dtype=torch.int64).random_(_LOWEST_64, None)
        kept = bits.view(torch.int16).ge_(_LOWEST_16 + n_dropped)[:n_elements]
        return kept.view(shape).to(dtype).mul_(LEVELS / (LEVELS - n_dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
