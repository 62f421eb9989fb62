"""The associative memory of one layer: values under keys, in a matrix of fixed size.

    phi(x)   features of a key or query, none negative (features)
    read     phi(W_q x)^T A / (phi(W_q x) . z), of every row x
    write    of every memory row x, with k = phi(W_k x), v = W_v x, beta = sigmoid(W_beta x):

                 old = k^T A / (k . z)                what is known under the key
                 A <- A + sum beta k (v - old)^T      is replaced, as far as beta says
                 z <- z + sum gamma k                 and the key is counted as far as it is new

Who writes reads the state from before: all rows of a segment write at once. The state (A, z) is an
argument and a result; nothing is kept here. It is float32 at least, whatever the precision of the
layer, for it is a sum over the whole stream.

Axes and sources are in this folder's __init__.py.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmt.models.associative.options import MemoryOptions
from rmt.models.transformer_xl.padding import PaddedLinear

EPS = 1e-5  # of the public code; also what makes reading an empty memory 0

# A, [B, F, D], and z, [B, F]; None where a way to write needs none.
Memory = tuple[Tensor, Tensor | None]


def features(x_BNr: Tensor, nu: int) -> Tensor:
    """DPFP-nu (Schlag et al. 2021, section 5.3): products of neighbours, [B, N, 2 * nu * r].

    With y = [relu(x), relu(-x)]: y times y shifted by one place, by two, ... by nu.
    """
    y = torch.cat([x_BNr.relu(), (-x_BNr).relu()], dim=-1)
    return torch.cat([y * y.roll(shift, dims=-1) for shift in range(1, nu + 1)], dim=-1)


class AssociativeMemory(nn.Module):
    """The parameters of a layer's memory, and what is done with its state."""

    called: ClassVar = ("read", "write")  # in the place of forward, for rmt.bench to find its time

    def __init__(
        self,
        d_model: int,
        d_mem: int,
        nu: int,
        *,
        correction: bool = True,
        pad_sizes: str = "auto",
    ):
        """d_mem: of queries and keys before phi. correction: gamma; without it, it is always 1."""
        super().__init__()
        self.nu, self.correction = nu, correction
        self.query = PaddedLinear(d_model, d_mem, bias=False, pad_sizes=pad_sizes)
        self.key = PaddedLinear(d_model, d_mem, bias=False, pad_sizes=pad_sizes)
        self.value = PaddedLinear(d_model, d_model, bias=False, pad_sizes=pad_sizes)
        self.strength = nn.Linear(d_model, 1)  # of writing: beta, before its sigmoid
        self.start_silent()

    @torch.no_grad()
    def start_silent(self) -> None:
        """Values start as 0, so that a new memory changes nothing in a layer."""
        nn.init.zeros_(self.value.weight)

    @property
    def n_features(self) -> int:
        return 2 * self.nu * self.key.out_features

    def empty(self, n_streams: int) -> Memory:
        """The state that a stream starts with: zeros."""
        weight = self.value.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        shape = (n_streams, self.n_features, len(weight))
        return weight.new_zeros(shape, dtype=dtype), weight.new_zeros(shape[:2], dtype=dtype)

    def read(self, x_BND: Tensor, A_BFD: Tensor, z_BF: Tensor) -> Tensor:
        """What is known under the queries of the rows x: [B, N, D], in their dtype. An empty
        memory has 0 for all."""
        query_BNF = self.features(self.query(x_BND))
        with torch.autocast(x_BND.device.type, enabled=False):
            return known(query_BNF, A_BFD, z_BF)[0].to(x_BND.dtype)

    def write(self, x_BmD: Tensor, A_BFD: Tensor, z_BF: Tensor) -> Memory:
        """The state after the memory rows x were written into it."""
        with torch.autocast(x_BmD.device.type, enabled=False):
            key_BmF, value_BmD, beta_Bm1 = self.to_write(x_BmD)
            old_BmD, seen_Bm1 = known(key_BmF, A_BFD, z_BF)
            A_BFD = A_BFD + key_BmF.mT @ (beta_Bm1 * (value_BmD - old_BmD))
            if self.correction:
                key_BmF = newness(key_BmF, seen_Bm1, z_BF) * key_BmF
            return A_BFD, z_BF + key_BmF.sum(dim=1)

    def to_write(self, x_BmD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and how much they replace what is known: beta, 0 to 1."""
        x_BmD = x_BmD.to(self.value.weight.dtype)
        key_BmF = self.features(self.key(x_BmD))
        return key_BmF, self.value(x_BmD).to(key_BmF.dtype), self.strength(x_BmD).sigmoid()

    def features(self, x_BNr: Tensor) -> Tensor:
        """phi, in float32 at least: [B, N, F]."""
        return features(x_BNr.to(torch.promote_types(x_BNr.dtype, torch.float32)), self.nu)


def memory_of(options: MemoryOptions, d_model: int, pad_sizes: str = "auto") -> AssociativeMemory:
    """A new memory of the kind that options say."""
    sizes = (d_model, options.d_mem, options.dpfp_nu)
    if options.memory_update == "delta":
        return DeltaMemory(*sizes, pad_sizes=pad_sizes)
    return AssociativeMemory(*sizes, correction=options.correction, pad_sizes=pad_sizes)


def known(key_BNF: Tensor, A_BFD: Tensor, z_BF: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the values under a key, [B, N, D], and how much there is of it, [B, N, 1]."""
    seen_BN1 = key_BNF @ z_BF[..., None] + EPS
    return key_BNF @ A_BFD / seen_BN1, seen_BN1


@torch.no_grad()
def newness(key_BmF: Tensor, seen_Bm1: Tensor, z_BF: Tensor) -> Tensor:
    """gamma: 1 for a key that was never written, 0 for one that was, without gradient: [B, m, 1].

    A key that is written again must not count twice, else reading it would halve what it holds.
    """
    gamma_Bm1 = 1 - seen_Bm1 / (key_BmF.square().sum(dim=-1, keepdim=True) + EPS)
    # Exactly 1 in an empty memory. z says which are: its numbers are 0 at first, and never fall.
    is_empty_B11 = (z_BF == 0).all(dim=-1)[:, None, None]
    return torch.where(is_empty_B11, 1, gamma_Bm1.clamp(0, 1))


class DeltaMemory(AssociativeMemory):
    """The later form of the same (--memory_update delta): features of length 1, and no z.

    Memory rows write one after the other (the delta rule): what a row replaces is what is known
    after those before it. So equal keys in a segment don't add up, which without z nothing else
    would hold back.
    """

    def empty(self, n_streams: int) -> Memory:
        return super().empty(n_streams)[0], None

    def read(self, x_BND: Tensor, A_BFD: Tensor, z_BF: None = None) -> Tensor:
        query_BNF = self.features(self.query(x_BND))
        with torch.autocast(x_BND.device.type, enabled=False):
            return (query_BNF @ A_BFD).to(x_BND.dtype)

    def write(self, x_BmD: Tensor, A_BFD: Tensor, z_BF: None = None) -> Memory:
        with torch.autocast(x_BmD.device.type, enabled=False):
            key_BmF, value_BmD, beta_Bm1 = self.to_write(x_BmD)
            # The change u_i under key i: u_i = beta_i (v_i - k_i^T A - sum_{j<i} (k_i . k_j) u_j).
            among_keys_Bmm = beta_Bm1 * (key_BmF @ key_BmF.mT)
            alone_BmD = beta_Bm1 * (value_BmD - key_BmF @ A_BFD)
            change_BmD = torch.linalg.solve_triangular(
                among_keys_Bmm, alone_BmD, upper=False, unitriangular=True
            )
            return A_BFD + key_BmF.mT @ change_BmD, None

    def features(self, x_BNr: Tensor) -> Tensor:
        """phi / |phi|: [B, N, F]."""
        return F.normalize(super().features(x_BNr), dim=-1)
