"""Triton's kernels for attention, in Triton's interpreter; test_fused_attention.py starts it.

The interpreter is chosen by TRITON_INTERPRET=1 before Triton is imported, for a whole process.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.attention import (
    SEGMENTS,
    assert_reads_as_the_formula,
    mask_of,
    random_rows,
    values_and_gradients,
)
from helpers.models import LENGTHS, tiny_model, tiny_segments
from rmt.models.transformer_xl.attention import fused, plain
from rmt.models.transformer_xl.attention.choice import reader
from rmt.models.transformer_xl.attention.formula import masked_keys
from rmt.models.transformer_xl.dropout import Dropout
from rmt.training.recurrence import Unrolled

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2}


@pytest.mark.parametrize("segment", SEGMENTS)
def test_the_kernels_read_as_the_formula(segment):
    assert_reads_as_the_formula(fused.read, mask_of(segment), torch.float32, 1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("d_head", [16, 41])
def test_in_every_precision_and_with_heads_of_any_size(dtype, d_head):
    assert_reads_as_the_formula(fused.read, mask_of("trxl_rmt"), dtype, TOLERANCE[dtype], d_head)


sizes = st.integers(0, 35)


@settings(max_examples=8)
@given(sizes, st.integers(0, 3), st.integers(1, 35), st.integers(0, 3), st.data())
def test_any_length(n_cached, n_read, n_tokens, n_write, data):
    masked = masked_keys(n_cached, n_read, n_tokens, n_write)
    n_queries = data.draw(st.integers(1, len(masked)))
    assert_reads_as_the_formula(fused.read, masked[-n_queries:], torch.float64, 1e-12)


def test_numbers_so_large_that_their_exponentials_are_not():
    masked = mask_of("trxl_rmt")
    rows = random_rows(masked)

    def read_large(query, *others, masked_QK, dropatt):
        return fused.read(1e3 * query, *others, masked_QK=masked_QK, dropatt=dropatt)

    found = read_large(*rows, masked_QK=masked, dropatt=Dropout(0.0))
    query, *others = rows
    expected = plain.read(1e3 * query, *others, masked_QK=masked, dropatt=Dropout(0.0))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_row_that_sees_nothing_reads_zero():
    masked = mask_of("rmt").clone()
    rows = random_rows(masked)
    expected = fused.read(*rows, masked_QK=masked, dropatt=Dropout(0.0))
    masked[1] = True
    found, d_query, *others = values_and_gradients(
        lambda *rows: fused.read(*rows, masked_QK=masked, dropatt=Dropout(0.0)), rows
    )
    assert not found[:, :, 1].any()
    assert not d_query[:, :, 1].any()
    assert torch.equal(found[:, :, 2:], expected[:, :, 2:])
    assert all(gradient.isfinite().all() for gradient in (d_query, *others))


def test_rows_may_lie_anywhere():
    """As slices of what several layers share, say, or with a stride between numbers."""
    masked = mask_of("rmt")
    rows = random_rows(masked)

    def spread(row):
        return row.repeat_interleave(2, dim=-1)[..., ::2]

    read = [
        fused.read(*map(lay, rows), masked_QK=masked, dropatt=Dropout(0.0))
        for lay in (torch.clone, spread)
    ]
    torch.testing.assert_close(*read, rtol=1e-12, atol=1e-12)


# --- in a model ----------------------------------------------------------------------------------


def losses_states_and_gradients(model) -> list[torch.Tensor]:
    """Of three segments, with gradient through the memory of all."""
    nll, states = Unrolled(model)(tiny_segments([5, 6, 5]))
    nll.mean().backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return [nll, *states[-1].tensors().values(), *gradients]


def assert_equal(mine: list[torch.Tensor], its: list[torch.Tensor]) -> None:
    for one, other in zip(mine, its, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *[(name, {}) for name in LENGTHS],
        ("trxl_rmt", {"same_length": True, "read_mem_from_cache": True}),
        ("rmt", {"pre_lnorm": True}),
    ],
)
def test_a_model_computes_the_same(name, changes, monkeypatch):
    calls, launch = [], fused.read_rows
    monkeypatch.setattr(fused, "read_rows", lambda *rows: calls.append(1) or launch(*rows))
    found = losses_states_and_gradients(tiny_model(name, attention="triton", n_layer=2, **changes))
    assert calls, "by the kernels"
    assert_equal(found, losses_states_and_gradients(tiny_model(name, n_layer=2, **changes)))


def test_compiled_too():
    """Without a break in the graph."""
    model = tiny_model("rmt", attention="triton", n_layer=2)
    torch.compiler.reset()
    model.compile(backend="aot_eager", fullgraph=True)
    found = losses_states_and_gradients(model)
    assert_equal(found, losses_states_and_gradients(tiny_model("rmt", n_layer=2)))


def test_the_operators_keep_what_pytorch_asks_of_them():
    """Schema, strides and dtypes without values, and the gradient's registration."""
    masked = mask_of("trxl_rmt")
    query, key, value, *_ = random_rows(masked)
    position = torch.randn(*query.shape[:3], key.shape[2] + 2, dtype=query.dtype)
    rows = (query, key.detach(), value, position.requires_grad_(), masked)
    seed = torch.tensor([5])
    torch.library.opcheck(fused.read_rows, (*rows, None, 0.0))
    torch.library.opcheck(fused.read_rows, (*rows, seed, 0.5))


def test_bf16_is_left_to_plain_attention():
    """For the interpreter multiplies it wrongly."""
    masked = mask_of("rmt")
    rows = random_rows(masked, dtype=torch.bfloat16)
    ways = (reader("triton"), plain.read)
    read = [way(*rows, masked_QK=masked, dropatt=Dropout(0.0)) for way in ways]
    assert torch.equal(*read)


# --- dropout -------------------------------------------------------------------------------------


MASKED = masked_keys(12, 0, 20, 0)


def dropped_weights(dropatt: Dropout, seed: int) -> torch.Tensor:
    """The weights after dropout, [H, B, Q, K]: what is read where the values are unit vectors."""
    query, key, _, *others = random_rows(MASKED, d_head=32)
    units = torch.eye(32, dtype=query.dtype).expand(*query.shape[:2], -1, -1)
    torch.manual_seed(seed)
    return fused.read(query, key, units, *others, masked_QK=MASKED, dropatt=dropatt).detach()


def test_the_share_that_is_dropped_and_the_scale_of_the_rest():
    p = 0.3
    weights = dropped_weights(Dropout(p).eval(), 0)[..., ~MASKED]
    assert weights.all()
    found = dropped_weights(Dropout(p).train(), 0)[..., ~MASKED]
    dropped = found == 0
    spread = (p * (1 - p) / dropped.numel()) ** 0.5
    assert abs(dropped.double().mean() - p) < 5 * spread
    torch.testing.assert_close(found[~dropped] * (1 - p), weights[~dropped], rtol=1e-6, atol=0)


def test_a_seed_repeats_what_is_dropped():
    dropout = Dropout(0.5).train()
    first, again, other = (dropped_weights(dropout, seed)[..., ~MASKED] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    for one, another in [(first, other), (first[0], first[1]), (first[:, 0], first[:, 1])]:
        same = ((one == 0) == (another == 0)).double().mean()
        assert 0.4 < same < 0.6, "independent between calls, heads and streams"


def test_the_gradient_knows_what_was_dropped():
    """Against a difference of values along one direction; the mask is more than one tile wide."""
    masked = masked_keys(33, 1, 2, 1)[-2:]
    rows = random_rows(masked)
    directions = [torch.randn_like(row) for row in rows]

    def read(*rows):
        torch.manual_seed(3)
        return fused.read(*rows, masked_QK=masked, dropatt=Dropout(0.4).train()).sin().sum()

    def moved(step):
        with torch.no_grad():
            return read(*(row + step * way for row, way in zip(rows, directions, strict=True)))

    gradients = torch.autograd.grad(read(*rows), rows)
    found = sum((a * b).sum() for a, b in zip(gradients, directions, strict=True))
    expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_nothing_is_drawn_where_nothing_is_dropped():
    masked = mask_of("baseline")
    before = torch.get_rng_state()
    for dropout in (Dropout(0.5).eval(), Dropout(0.0).train()):
        fused.read(*random_rows(masked), masked_QK=masked, dropatt=dropout)
    assert torch.equal(torch.get_rng_state(), before)
