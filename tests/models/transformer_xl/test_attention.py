"""Mask, distances and the shift from distances to keys, cell by cell."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmt.models.transformer_xl.attention import plain
from rmt.models.transformer_xl.attention.formula import (
    align_distances,
    attention_weights,
    biased_queries,
    distance_embeddings,
    masked_keys,
    relative_scores,
    shift_as_published,
)
from rmt.models.transformer_xl.attention.layer import RelativeAttention
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.options import ModelConfig

DRAWING = """
x x . . . . .
x x . . . . .
x x x . . . .
x x x x . . .
x x x x x . .
x x x x x x x
x x x x x x x
"""


def drawn(visible: torch.Tensor) -> str:
    rows = ("".join(" x" if cell else " ." for cell in row).strip() for row in visible)
    return "\n" + "\n".join(rows) + "\n"


def test_the_mask_is_the_papers_figure():
    picture = drawn(~masked_keys(0, 2, 3, 2))
    print(picture)
    assert picture == DRAWING


def test_tokens_see_the_whole_cache_and_memory_only_if_asked():
    expected = """
. . x x . . . .
. . x x . . . .
x x x x x . . .
x x x x x x . .
. . x x x x x x
. . x x x x x x
"""
    assert drawn(~masked_keys(2, 2, 2, 2)) == expected
    opened = ~masked_keys(2, 2, 2, 2, memory_sees_cache=True)
    assert opened[:, :2].all()
    assert torch.equal(opened[:, 2:], ~masked_keys(2, 2, 2, 2)[:, 2:])


def test_causal_memory_sees_nothing_after_itself():
    expected = """
x . . . . . .
x x . . . . .
x x x . . . .
x x x x . . .
x x x x x . .
x x x x x x .
x x x x x x x
"""
    assert drawn(~masked_keys(0, 2, 3, 2, memory_is_causal=True)) == expected
    opened = ~masked_keys(2, 2, 2, 2, memory_sees_cache=True, memory_is_causal=True)
    assert opened[:, :2].all()


def test_a_window_shows_equally_many_tokens_and_all_of_the_memory():
    expected = """
. . . x x . . . . .
. . . x x . . . . .
. x x x x x . . . .
. . x x x x x . . .
. . . x x x x x . .
. . . x x x x x x x
. . . x x x x x x x
"""
    assert drawn(~masked_keys(3, 2, 3, 2, window=3)) == expected


@pytest.mark.parametrize(("n_queries", "n_keys"), [(5, 5), (4, 7), (1, 3), (2, 2)])
def test_the_published_shift_cell_by_cell(n_queries, n_keys):
    """Row q is at position p = K-Q+q; the score in column c is of distance K-1-c."""
    scores = torch.randn(2, 3, n_queries, n_keys + 2)
    shifted = shift_as_published(scores, n_keys)
    assert shifted.shape == (2, 3, n_queries, n_keys)
    for q, k in itertools.product(range(n_queries), range(n_keys)):
        p = n_keys - n_queries + q
        if k <= p:
            expected = scores[:, :, q, n_keys - 1 - (p - k)]
        elif k == p + 1:
            expected = torch.zeros(2, 3)
        else:
            expected = scores[:, :, q + 1, k - p - 2]
        assert torch.equal(shifted[:, :, q, k], expected), (q, k)


sizes = st.integers(0, 4)


@given(sizes, sizes, st.integers(1, 5), sizes, st.booleans(), st.none() | st.integers(1, 6))
def test_rules_of_the_mask(n_cached, n_read, n_tokens, n_write, memory_sees_cache, window):
    visible = ~masked_keys(
        n_cached, n_read, n_tokens, n_write, memory_sees_cache=memory_sees_cache, window=window
    )
    assert visible.shape == (n_read + n_tokens + n_write, n_cached + n_read + n_tokens + n_write)
    cache, rows = visible[:, :n_cached], visible[:, n_cached:]
    token = slice(n_read, n_read + n_tokens)
    assert visible.any(dim=1).all()  # no softmax over nothing
    assert rows[:n_read, :n_read].all()
    assert not rows[:n_read, n_read:].any()
    assert rows[token, :n_read].all()
    assert not rows[token, n_read:].triu(1).any()
    assert not rows[: n_read + n_tokens, n_read + n_tokens :].any()
    assert rows[n_read + n_tokens :].all()
    memory_rows = torch.cat([cache[:n_read], cache[n_read + n_tokens :]])
    assert (memory_rows == memory_sees_cache).all()
    # Row t of the tokens has n_cached + t + 1 tokens of the stream behind it.
    seen = cache[token].sum(1) + rows[token, token].sum(1)
    behind = n_cached + torch.arange(1, n_tokens + 1)
    assert torch.equal(seen, behind if window is None else behind.clamp(max=window))


@given(st.integers(1, 6), st.integers(0, 6), st.integers(1, 4))
def test_aligning_puts_every_distance_at_its_key(n_queries, n_before, n_ahead):
    n_keys = n_before + n_queries
    distances = torch.arange(n_keys - 1, -n_ahead - 1, -1).double()
    table = distances.expand(2, 3, n_queries, -1).contiguous()
    aligned = align_distances(table, n_keys)
    query = torch.arange(n_before, n_keys)[:, None]
    distance = (query - torch.arange(n_keys)).double().expand(2, 3, -1, -1)
    in_table = distance >= -n_ahead
    assert torch.equal(aligned[in_table], distance[in_table])


def test_sinusoids_of_true_distances():
    table = distance_embeddings(4, 2, 6, dtype=torch.float64)
    assert table.shape == (6, 6)
    for row, distance in zip(table, [3, 2, 1, 0, -1, -2], strict=True):
        angles = [distance * 10000 ** (-k / 6) for k in (0, 2, 4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        np.testing.assert_allclose(row, expected, atol=1e-15)


def test_clamping_limits_both_signs():
    clamped = distance_embeddings(6, 5, 4, clamp_len=2, dtype=torch.float64)
    full = distance_embeddings(6, 5, 4, dtype=torch.float64)
    by_distance = dict(zip(range(5, -6, -1), full, strict=True))
    for distance, row in zip(range(5, -6, -1), clamped, strict=True):
        assert torch.equal(row, by_distance[max(-2, min(2, distance))])


@pytest.mark.parametrize("dropatt", [0.0, 0.4])
@pytest.mark.parametrize("n_queries", [2, 5])
def test_reading_is_what_the_weights_say_and_so_is_its_gradient(n_queries, dropatt):
    """With fixed dropout; every input has a gradient."""
    torch.manual_seed(0)
    heads, streams, n_keys, n_ahead, width = 2, 3, 5, 2, 3
    sizes = {"n_head": heads, "d_head": width, "d_model": 4, "dropatt": dropatt}
    attention = RelativeAttention(ModelConfig(n_token=3, mem_len=1, **sizes)).double().train()
    masked = torch.arange(n_keys) > torch.arange(n_keys)[-n_queries:, None] + 1
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in (
            (heads, streams, n_queries, width),
            *[(heads, streams, n_keys, width)] * 2,
            (heads, n_keys + n_ahead, width),
            *[(heads, width)] * 2,
        )
    ]

    def read(*inputs):
        torch.manual_seed(1)
        return attention.read(*inputs, masked_QK=masked)

    query, key, value, *rest = inputs
    torch.manual_seed(1)
    kept = attention.dropatt.multipliers((heads, streams, n_queries, n_keys), torch.float64)
    weights = attention_weights(query, key, *rest, masked_QK=masked)
    assert (kept is None) == (dropatt == 0.0)
    expected = (weights if kept is None else weights * kept) @ value
    torch.testing.assert_close(read(*inputs), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(read, inputs)


@pytest.mark.parametrize("n_queries", [2, 5])
def test_scores_follow_the_formula_cell_by_cell(n_queries):
    torch.manual_seed(0)
    n_keys, n_ahead, heads, width = 5, 2, 2, 3
    query, key = torch.randn(heads, 1, n_queries, width), torch.randn(heads, 1, n_keys, width)
    by_distance = torch.randn(heads, n_keys + n_ahead, width)
    u, v = torch.randn(heads, width), torch.randn(heads, width)
    scores = relative_scores(query, key, by_distance, u, v)
    for h in range(heads):
        for i in range(n_queries):
            for j in range(n_keys):
                distance = n_keys - n_queries + i - j
                if distance < -n_ahead:
                    continue
                r = by_distance[h, n_keys - 1 - distance]
                q, k = query[h, 0, i], key[h, 0, j]
                expected = ((q + u[h]) @ k + (q + v[h]) @ r) / math.sqrt(width)
                torch.testing.assert_close(scores[h, 0, i, j], expected)


@pytest.mark.parametrize("dropatt", [0.0, 0.4])
def test_the_plain_way_of_a_gpu_is_that_of_a_cpu(dropatt):
    """Values and gradients, with a cache, a segment of rmt, and rows left out."""
    torch.manual_seed(0)
    masked = masked_keys(3, 2, 4, 2)[-6:]
    n_queries, n_keys = masked.shape
    mask = torch.zeros(masked.shape, dtype=torch.float64).masked_fill(masked, -math.inf)
    shapes = [(2, 3, n_queries, 5), *[(2, 3, n_keys, 5)] * 2, (2, n_keys + 2, 5), *[(2, 5)] * 2]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    query, key, value, distance, *biases = inputs
    found = []
    for way in (plain.read_in_few_passes, plain.read_term_by_term):
        torch.manual_seed(1)
        queries = biased_queries(query, *biases)
        read = way(*queries, key, value, distance, mask, Dropout(dropatt).train())
        found.append([read, *torch.autograd.grad(read.sin().sum(), inputs)])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)


def test_the_plain_way_of_a_gpu_goes_back_by_the_weights_that_it_used():
    """Three weights of 1/3 are 1.00195 in all in bf16, so that equal gradients leave a rest."""
    one_hot = torch.eye(3, dtype=torch.bfloat16)[None, None]
    scores = torch.full((1, 1, 1, 3), 40.0, dtype=torch.bfloat16, requires_grad=True)
    nothing = torch.zeros(1, 4, 3, dtype=torch.bfloat16)
    mask = torch.zeros(1, 3, dtype=torch.bfloat16)
    read = plain.read_term_by_term(
        scores, scores.detach(), one_hot, one_hot, nothing, mask, Dropout(0.0)
    )
    weight = read[0, 0, 0, 0].item()
    assert 3 * weight == pytest.approx(1.00195, abs=1e-5)
    read.sum().backward()
    rest = weight * (1 - 3 * weight)
    assert scores.grad.flatten().tolist() == pytest.approx([rest] * 3, rel=1e-2)


def test_compiled_the_plain_way_keeps_weights_and_no_scores_for_the_way_back():
    """Of scores that were rounded, and sums of exact ones, it would make other weights."""
    torch.compiler.reset()
    shapes = [(2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4), (2, 8, 4)]
    inputs = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
    mask = torch.zeros(5, 7, dtype=torch.bfloat16)
    read = torch.compile(plain.read_term_by_term, backend="aot_eager_decomp_partition")
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        read(*inputs, mask, Dropout(0.0))
    assert [tensor.dtype for tensor in kept if tensor.numel() == 2 * 3 * 5 * 7] == [torch.bfloat16]
    assert not any(tensor.numel() == 2 * 3 * 5 for tensor in kept), "a row's maximum or its sum"
