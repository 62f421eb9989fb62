"""Gradients of the word weights, added up in place, against autograd's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rmt.models.transformer_xl.word_weights import FEW_ROWS, gradients_in_place, lookup, split

N_WORDS, N_DIMENSIONS = 11, 4


def words(seed: int = 0, dtype=torch.float64) -> torch.nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(
        torch.randn(N_WORDS, N_DIMENSIONS, generator=generator, dtype=torch.float64).to(dtype)
    )


def loss(weight, bias, tokens, sizes) -> torch.Tensor:
    """Every use, twice: rows are looked up, multiplied and looked up again by what came out."""
    x = lookup(tokens, weight)
    for _ in range(2):
        parts = zip(split(weight, sizes), bias.split(sizes), strict=True)
        scores = torch.cat([part.products(x, own) for part, own in parts], dim=-1)
        x = scores.softmax(-1) @ lookup(torch.arange(N_WORDS), weight)
    return (x**2).sum()


sizes = st.lists(st.integers(1, N_WORDS - 1), max_size=3, unique=True).map(
    lambda cuts: [b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), N_WORDS], strict=True)]
)


@given(sizes=sizes, tokens=st.lists(st.integers(0, N_WORDS - 1), min_size=1, max_size=9))
def test_the_gradient_is_autograds(sizes, tokens):
    weight, twin = words(), words()
    bias, its_bias = (torch.zeros(N_WORDS).double().requires_grad_() for _ in range(2))
    tokens = torch.tensor(tokens)
    loss(twin, its_bias, tokens, sizes).backward()
    with gradients_in_place():
        loss(weight, bias, tokens, sizes).backward()
    torch.testing.assert_close(weight.grad, twin.grad)
    torch.testing.assert_close(bias.grad, its_bias.grad)


def test_gradients_of_several_passes_add_up_until_they_are_dropped():
    weight, bias = words(), torch.zeros(N_WORDS).double()
    gradients = []
    for drop in (True, False, True):
        weight.grad = None if drop else weight.grad
        with gradients_in_place():
            loss(weight, bias, torch.tensor([3, 3, 5]), [4, 7]).backward()
        gradients.append(weight.grad.clone())
    torch.testing.assert_close(gradients[1], 2 * gradients[0])
    assert torch.equal(gradients[2], gradients[0])


def test_the_memory_of_a_gradient_is_used_again_where_it_fits():
    weight, bias = words(), torch.zeros(N_WORDS).double()
    gradients = []
    for dtype in (torch.float64, torch.float64, torch.float32):
        weight.grad, weight.data = None, weight.data.to(dtype)
        with gradients_in_place():
            loss(weight, bias.to(dtype), torch.tensor([3]), [4, 7]).backward()
        assert weight.grad.dtype == dtype
        gradients.append(weight.grad)
    assert gradients[1] is gradients[0]
    assert gradients[2] is not gradients[0]


def test_it_is_the_same_through_activation_checkpoints():
    weight, twin, bias = words(), words(), torch.zeros(N_WORDS).double()
    inputs = (bias, torch.tensor([0, 10, 7]), [2, 9])
    with gradients_in_place():
        loss(weight, *inputs).backward()
        checkpoint(loss, twin, *inputs, use_reentrant=False).backward()
    torch.testing.assert_close(twin.grad, weight.grad)


@pytest.mark.parametrize("n_rows", [FEW_ROWS - 1, FEW_ROWS])
def test_under_autocast_few_rows_are_multiplied_in_fp32(n_rows):
    """And many in bf16, like any product."""
    torch.manual_seed(0)
    weight, bias = words(dtype=torch.float32), torch.randn(N_WORDS)
    x = torch.randn(n_rows, N_DIMENSIONS, requires_grad=True)
    exact = F.linear(x, weight, bias)
    with gradients_in_place(), torch.autocast("cpu", torch.bfloat16):
        (part,) = split(weight, [N_WORDS])
        found = part.products(x, bias)
        found.float().sum().backward()
    few = n_rows < FEW_ROWS
    assert found.dtype == (torch.float32 if few else torch.bfloat16)
    torch.testing.assert_close(found.float(), exact, rtol=1e-6 if few else 2**-6, atol=2**-6)
    torch.testing.assert_close(
        weight.grad, x.detach().sum(0).expand_as(weight), rtol=0, atol=1e-5 if few else 2**-3
    )
    assert x.grad.dtype == torch.float32


def test_without_the_context_or_a_gradient_nothing_is_kept():
    weight, bias = words(), torch.zeros(N_WORDS).double()
    tokens = torch.tensor([1, 2])
    (gradient,) = torch.autograd.grad(loss(weight, bias, tokens, [5, 6]), weight)
    assert gradient.any()
    with gradients_in_place(), torch.no_grad():
        loss(weight, bias, tokens, [5, 6])
    assert weight.grad is None
