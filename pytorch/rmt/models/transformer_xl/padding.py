"""Products in sizes that fit a GPU: zeros pad the sublayers inside, and nothing outside of them.

A product of rows of 410 numbers or heads of 41 falls to kernels that are several times slower than
those for 416 and 48. Weights and rows are padded where they meet; parameters, hidden states between
the sublayers, checkpoints and results have the true sizes, and so have LayerNorms.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLE = 16  # numbers; 32 bytes in 16 bits


def pads(pad_sizes: str, x: Tensor) -> bool:
    """What --pad_sizes says of products of x: on, off, or auto, which is on for CUDA alone."""
    return pad_sizes == "on" or (pad_sizes == "auto" and x.is_cuda)


def padded(x: Tensor, *axes: int, value: float = 0.0) -> Tensor:
    """x with the value after the end of some axes, so that their sizes are multiples of MULTIPLE.

    axes: counted from the last, -1. What fits already is returned as it is.
    """
    missing = [0, 0] * x.dim()  # before and after the last axis, the one before it, ...
    for axis in axes:
        missing[-2 * axis - 1] = -x.shape[axis] % MULTIPLE
    if not any(missing):
        return x
    # Under autocast, which would make the product's copy of the padded one.
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return F.pad(x, missing, value=value)


class PaddedLinear(nn.Linear):
    """nn.Linear that can compute in padded sizes, with parameters of the true ones."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        *,
        pad_sizes: str,
        heads_in: int = 1,
        heads_out: int = 1,
        leaves_padding: bool = False,
    ):
        """heads_in, heads_out: of how many heads the features are; each is padded by itself.

        leaves_padding: whether the output stays padded, for another padded product.
        """
        super().__init__(n_in, n_out, bias)
        self.pad_sizes, self.leaves_padding = pad_sizes, leaves_padding
        self.heads_in, self.heads_out = heads_in, heads_out

    def forward(self, x: Tensor) -> Tensor:
        """x: [.., n_in], or already padded."""
        if not pads(self.pad_sizes, x):
            return super().forward(x)
        out = F.linear(self.padded_rows(x), *self.padded_parameters())
        return out if self.leaves_padding else out[..., : self.out_features]

    def padded_rows(self, x: Tensor) -> Tensor:
        """What the padded weight is multiplied with."""
        return padded(x.unflatten(-1, (self.heads_in, -1)), -1).flatten(-2)

    def padded_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias."""
        heads = self.weight.unflatten(1, (self.heads_in, -1)).unflatten(0, (self.heads_out, -1))
        weight = padded(heads, -3, -1).flatten(2).flatten(0, 1)
        bias = self.bias
        if bias is not None:
            bias = padded(bias.unflatten(0, (self.heads_out, -1)), -1).flatten()
        return weight, bias
