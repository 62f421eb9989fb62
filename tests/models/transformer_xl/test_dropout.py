"""Dropout from cheap random bits: exact probability, scale, gradient and repetition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rmt.models.transformer_xl.dropout import LEVELS, Dropout

probabilities = st.floats(0.0, 0.999)
shapes = st.lists(st.integers(0, 5), max_size=4).map(torch.Size)


def multipliers(shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
    found = Dropout(p).train().multipliers(shape, dtype)
    return torch.ones(shape, dtype=dtype) if found is None else found


def all_bits(monkeypatch, numbers: torch.Tensor) -> None:
    """Let the generator return these 16-bit numbers, four to a word."""
    words = numbers.to(torch.int16).view(torch.int64)
    monkeypatch.setattr(torch.Tensor, "random_", lambda out, *_: out.copy_(words))


@pytest.mark.parametrize("p", [0.0, 2**-16, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1 - 2**-16, 1 - 1e-9])
def test_the_probability_is_exact_to_16_bits(p, monkeypatch):
    """Over all numbers that 16 bits can be, counted and not sampled."""
    all_bits(monkeypatch, torch.arange(-(2**15), 2**15))
    found = multipliers(torch.Size([LEVELS]), p, torch.float64)
    n_dropped = int((found == 0).sum())
    assert abs(n_dropped / LEVELS - p) <= 2**-16
    assert found.max() == LEVELS / (LEVELS - n_dropped)
    assert found.mean() == pytest.approx(1.0, abs=1e-12), "the mean stays"


def test_every_16_bits_of_a_word_are_used(monkeypatch):
    all_bits(monkeypatch, torch.tensor([-(2**15), 0, -(2**15), 2**15 - 1, 0, 0, 0, 0]))
    kept = pytest.approx(4 / 3)
    found = multipliers(torch.Size([6]), 0.25, torch.float32).tolist()
    assert found == [0.0, kept, 0.0, kept, kept, kept]


@given(p=probabilities, shape=shapes, dtype=st.sampled_from([torch.bfloat16, torch.float64]))
def test_shape_dtype_and_values(p, shape, dtype):
    found = multipliers(shape, p, dtype)
    assert found.shape == shape
    assert found.dtype == dtype
    kept = found[found != 0]
    assert torch.allclose(kept, torch.tensor(1 / (1 - p), dtype=dtype), rtol=2**-7)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_elements_are_dropped_independently(p):
    """Numbers of dropped elements: in all, in each of the four parts of a word, and in pairs."""
    torch.manual_seed(0)
    dropped = (multipliers(torch.Size([250_000, 4]), p, torch.float32) == 0).double()
    for found, expected in (
        *[(dropped[:, i], p) for i in range(4)],
        *[(dropped[:, i] * dropped[:, j], p * p) for i in range(4) for j in range(i)],
        (dropped[1:, 0] * dropped[:-1, 3], p * p),
    ):
        spread = math.sqrt(expected * (1 - expected) / len(found))
        assert abs(found.mean().item() - expected) < 5 * spread


@given(p=probabilities, shape=shapes)
def test_the_gradient_has_the_same_multipliers(p, shape):
    dropout = Dropout(p).train()
    x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_a_seed_repeats_it_and_goes_on():
    dropout, x = Dropout(0.5).train(), torch.ones(1000)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)


@pytest.mark.parametrize("dropout", [Dropout(0.5).eval(), Dropout(0.0).train()])
def test_nothing_is_dropped_in_evaluation_or_with_probability_0(dropout):
    x = torch.randn(7)
    before = torch.get_rng_state()
    assert dropout(x) is x
    assert torch.equal(torch.get_rng_state(), before), "nor is anything drawn"


def test_it_is_printed_as_pytorchs():
    assert repr(Dropout(0.25)) == repr(nn.Dropout(0.25)).replace(", inplace=False", "")
