"""The two uses of the word weights, lookup and product, with a gradient that is made once.

The gradient of 267,735 words is the largest tensor of a step. Autograd makes one of that size for
every use, of every segment, and adds them up, though each use has something to say of its own rows
alone. Inside gradients_in_place() a use on a CPU adds its rows to weight.grad itself, as a GPU's
fused kernels do with their weights' gradients.

Axes: N predictions or tokens, E embedding dimension, V words, W some of the words.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

_IN_PLACE = ContextVar("in place", default=False)
_GRADIENTS = WeakTensorKeyDictionary()  # the last gradient of every weight

# Under autocast, making bf16 weights of fp32 ones takes longer than what it saves where so few rows
# are multiplied (measured on the CPUs that have bf16).
FEW_ROWS = 32


@contextmanager
def gradients_in_place() -> Iterator[None]:
    """For training by backward(), which must be inside, too.

    weight.grad is complete when the backward pass is; torch.autograd.grad and hooks on the weight
    see nothing of it. Its memory is used again: copy a gradient that is to outlive the next one.
    """
    token = _IN_PLACE.set(True)
    try:
        yield
    finally:
        _IN_PLACE.reset(token)


def lookup(tokens: Tensor, weight_VE: Tensor) -> Tensor:
    """The words' rows: tokens.shape + [E]."""
    if _in_place(weight_VE):
        return _Lookup.apply(tokens, weight_VE)
    return F.embedding(tokens, weight_VE)


class WordEmbedding(nn.Embedding):
    """nn.Embedding by way of lookup."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """The words' rows: [B, T, E]."""
        return lookup(tokens_BT, self.weight)


class ShrinkingEmbedding(nn.Module):
    """Embeddings that are smaller for the words of later clusters (div_val; Baevski and Auli 2019).

    All sizes follow from the number of tokens: a row has room for the numbers of every cluster, and
    zeros but for the word's own, so that one matrix projects all.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]):
        """sizes: of each cluster, the head first, how many words and how many numbers each."""
        super().__init__()
        self.clusters = nn.ModuleList(WordEmbedding(*size) for size in sizes)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """The words' rows: [B, T, sum of the clusters' E]."""
        parts, first = [], 0
        last = len(self.clusters) - 1
        for i, cluster in enumerate(self.clusters):
            n_words = cluster.num_embeddings
            place_BT = tokens_BT - first
            others_BT = (place_BT < 0) | (place_BT >= n_words)
            # Ids that no cluster has stay out of reach, so that they are an error as ever.
            place_BT = place_BT.clamp(0 if i else None, n_words - 1 if i < last else None)
            parts.append(cluster(place_BT).masked_fill(others_BT[..., None], 0))
            first += n_words
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class Words:
    """Consecutive rows of the word weights.

    whole: the parameter to whose .grad their gradient is added, from row `first` on; None where
    autograd does it.
    """

    weight: Tensor
    whole: Tensor | None = None
    first: int = 0

    def products(self, x_NE: Tensor, bias_W: Tensor) -> Tensor:
        """x @ rows.T + bias: [N, W]."""
        if self.whole is None:
            return F.linear(x_NE, self.weight, bias_W)
        return _Products.apply(x_NE, self.weight, bias_W, self.whole, self.first)


def split(weight_VE: Tensor, sizes: Sequence[int]) -> list[Words]:
    """Cut the words into consecutive parts of these sizes."""
    whole = weight_VE if _in_place(weight_VE) else None
    # One split, whose backward pass writes the large gradient once, instead of slices, each of
    # which would fill a gradient of all words with zeros.
    parts = (weight_VE if whole is None else weight_VE.detach()).split(list(sizes))
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [Words(part, whole, first) for part, first in zip(parts, firsts, strict=True)]


def _in_place(weight: Tensor) -> bool:
    return (
        _IN_PLACE.get()
        and torch.is_grad_enabled()
        and weight.is_leaf
        and weight.requires_grad
        and weight.device.type == "cpu"
    )


def _gradient(weight: Tensor) -> Tensor:
    """weight.grad, which starts as zeros in the memory that it had before, for pages are dear."""
    if weight.grad is None:
        last = _GRADIENTS.get(weight)
        same = last is not None and (last.shape, last.dtype) == (weight.shape, weight.dtype)
        weight.grad = _GRADIENTS[weight] = last.zero_() if same else torch.zeros_like(weight)
    return weight.grad


class _Lookup(torch.autograd.Function):
    # The weight is an input, though its gradient here is None, so that whoever waits for its
    # gradient to be complete (DistributedDataParallel) waits for this use.

    @staticmethod
    def forward(ctx, tokens, weight_VE):
        ctx.tokens, ctx.weight = tokens, weight_VE
        return F.embedding(tokens, weight_VE)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_rows):
        gradient = _gradient(ctx.weight)
        gradient.index_add_(0, ctx.tokens.flatten(), d_rows.flatten(0, -2).to(gradient.dtype))
        return None, None


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NE, weight_WE, bias_W, whole_VE, first):
        dtype = x_NE.dtype
        if torch.is_autocast_enabled("cpu"):
            few = len(x_NE) < FEW_ROWS
            dtype = weight_WE.dtype if few else torch.get_autocast_dtype("cpu")
        x_NE, weight_WE = x_NE.to(dtype), weight_WE.to(dtype)
        ctx.save_for_backward(x_NE, weight_WE)
        ctx.whole, ctx.first = whole_VE, first
        with torch.autocast("cpu", enabled=False):  # which would make the few rows bf16 again
            return F.linear(x_NE, weight_WE, bias_W.to(dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_NW):
        x_NE, weight_WE = ctx.saved_tensors
        gradient_WE = _gradient(ctx.whole)[ctx.first :][: len(weight_WE)]
        if gradient_WE.dtype == x_NE.dtype:
            gradient_WE.addmm_(d_NW.T, x_NE)
        else:
            gradient_WE.add_(d_NW.T @ x_NE)
        return d_NW @ weight_WE, None, d_NW.sum(0), None, None
