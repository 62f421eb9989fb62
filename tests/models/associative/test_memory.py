"""The associative memory of a layer: its equations, and what follows from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import numpy_associative
from helpers.programs import SAMPLES
from rmt.models.associative.memory import AssociativeMemory, DeltaMemory, features

KINDS = [AssociativeMemory, DeltaMemory]


def weights_of(memory: AssociativeMemory) -> dict[str, np.ndarray]:
    """By the names of numpy_associative."""
    linear = {name: getattr(memory, name).weight for name in ("query", "key", "value")}
    strength = {
        "strength_weight": memory.strength.weight,
        "strength_bias": memory.strength.bias,
    }
    return {name: tensor.detach().numpy() for name, tensor in (linear | strength).items()}


def random_memory(kind, seed: int = 0, d_model=6, d_mem=3, nu=2, **options) -> AssociativeMemory:
    """In float64, with weights of which every one matters."""
    torch.manual_seed(seed)
    memory = kind(d_model, d_mem, nu, **options).double()
    with torch.no_grad():
        for weight in memory.parameters():
            weight.normal_()
    return memory


# The public layer


@pytest.fixture
def published():
    """Numbers of the public code (tests/samples/README.md)."""
    with np.load(SAMPLES / "associative" / "armt_layer.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_it_is_the_public_layer(published):
    """Outputs, states and gradients over four segments."""
    n_segments, n_streams, _, d_model = published["x"].shape
    n_memory, nu = int(published["m"]), int(published["nu"])
    memory = AssociativeMemory(d_model, len(published["W_q"]), nu).double()
    ours = {
        memory.query.weight: "W_q",
        memory.key.weight: "W_k",
        memory.value.weight: "W_v",
        memory.strength.weight: "w_beta",
        memory.strength.bias: "b_beta",
    }
    with torch.no_grad():
        for weight, name in ours.items():
            weight.copy_(published[name])

    x, state = published["x"].clone().requires_grad_(), memory.empty(n_streams)
    for i in range(n_segments):
        h = x[i] + memory.read(x[i], *state)
        out = h + torch.tanh(h @ published["inner"])
        state = memory.write(out[:, -n_memory:], *state)
        for found, name in zip((out, *state), ("out", "A", "z"), strict=True):
            torch.testing.assert_close(found, published[name][i], rtol=0, atol=1e-10)
    scale = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
    (out * scale).sum().backward()
    gradients = {"x": x.grad} | {name: weight.grad for weight, name in ours.items()}
    for name in ("x", "W_q", "W_k", "W_v"):
        torch.testing.assert_close(gradients[name], published[f"d_{name}"], rtol=0, atol=1e-10)


# The equations


@settings(max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    correction=st.booleans(),
    d_mem=st.integers(1, 4),
    nu=st.integers(1, 3),
    n_memory=st.integers(1, 4),
    n_segments=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_it_is_the_equations_row_by_row(kind, correction, d_mem, nu, n_memory, n_segments, seed):
    memory = random_memory(kind, seed, d_mem=d_mem, nu=nu, correction=correction)
    weights, delta = weights_of(memory), kind is DeltaMemory
    x = torch.randn(n_segments, 2, 3 + n_memory, 6, dtype=torch.float64)
    state = memory.empty(2)
    zeros = {"A": np.zeros((2 * nu * d_mem, 6)), "z": np.zeros(2 * nu * d_mem)}
    expected = [zeros, zeros]
    for i in range(n_segments):
        found = memory.read(x[i], *state)
        state = memory.write(x[i, :, -n_memory:], *state)
        for b in range(2):
            for row, found_D in zip(x[i, b].numpy(), found[b].numpy(), strict=True):
                known = numpy_associative.read(weights, nu, delta, row, expected[b])
                np.testing.assert_allclose(found_D, known, rtol=1e-9, atol=1e-9)
            rows = x[i, b, -n_memory:].numpy()
            expected[b] = numpy_associative.write(weights, nu, delta, correction, rows, expected[b])
            np.testing.assert_allclose(state[0][b], expected[b]["A"], rtol=1e-9, atol=1e-9)
            if not delta:
                np.testing.assert_allclose(state[1][b], expected[b]["z"], rtol=1e-9, atol=1e-9)


def test_features_of_a_vector_written_out():
    x = torch.tensor([[[2.0, -3.0]]])
    y = [2, 0, 0, 3]  # the positive parts, and those of the negative
    assert features(x, 1)[0, 0].tolist() == [2 * 3, 0, 0, 0]
    assert features(x, 2)[0, 0, 4:].tolist() == [y[i] * y[i - 2] for i in range(4)]
    assert features(x, 3)[0, 0, 8:].tolist() == [y[i] * y[i - 3] for i in range(4)]


# What it remembers

R, D = 4, 6


def bare(kind, d_mem: int = R, nu: int = 3, **options) -> AssociativeMemory:
    """One whose rows are [key, value]: both are taken as they are, and all is written (beta 1)."""
    memory = kind(d_mem + D, d_mem, nu, **options).double()
    with torch.no_grad():
        for weight in memory.parameters():
            weight.zero_()
        memory.query.weight[:, :d_mem] = torch.eye(d_mem)
        memory.key.weight[:, :d_mem] = torch.eye(d_mem)
        memory.value.weight[d_mem:, d_mem:] = torch.eye(D)
        memory.strength.bias.fill_(1000.0)
    return memory


def rows_of(keys, values) -> torch.Tensor:
    """Memory rows of one stream: [1, m, r + D]."""
    return torch.cat([keys, values], dim=-1)[None]


def random_pairs(n: int, d_mem: int = R, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(n, d_mem + D, generator=generator, dtype=torch.float64)
    return numbers[:, :d_mem], numbers[:, d_mem:]


def recalled(memory, keys, state) -> torch.Tensor:
    """The values under keys, [n, D]: all that is asked with has zeros in the place of a value."""
    n, d_mem = keys.shape
    return memory.read(rows_of(keys, torch.zeros(n, D)), *state)[0, :, d_mem:]


def written(memory, keys, values, state=None):
    """One pair a segment."""
    state = memory.empty(1) if state is None else state
    for key, value in zip(keys.split(1), values.split(1), strict=True):
        state = memory.write(rows_of(key, value), *state)
    return state


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_key_that_is_written_again_has_the_new_value(kind):
    memory = bare(kind)
    (key, _), (first, second) = (pairs.split(1) for pairs in random_pairs(2))
    state = written(memory, key, first)
    torch.testing.assert_close(recalled(memory, key, state), first, rtol=1e-4, atol=0)
    for value in (second, first, first, second):
        state = written(memory, key, value, state)
        torch.testing.assert_close(recalled(memory, key, state), value, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_and_half_of_it_without_the_correction():
    """The key counts twice."""
    memory = bare(AssociativeMemory, correction=False)
    (key, _), (first, second) = (pairs.split(1) for pairs in random_pairs(2))
    state = written(memory, torch.cat([key, key]), torch.cat([first, second]))
    torch.testing.assert_close(recalled(memory, key, state), second / 2, rtol=1e-4, atol=0)


@torch.no_grad()
def test_equal_keys_in_one_segment_overshoot_but_not_by_the_delta_rule():
    (key, _), (first, second) = (pairs.split(1) for pairs in random_pairs(2))
    twice = rows_of(torch.cat([key, key]), torch.cat([second, second]))
    found = []
    for kind in KINDS:
        memory = bare(kind)
        state = memory.write(twice, *written(memory, key, first))
        found.append(recalled(memory, key, state))
    torch.testing.assert_close(found[0], first + 2 * (second - first), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1], second)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_keys_without_common_features_leave_each_other_alone(kind):
    """With nu 1: two neighbours that are positive make one feature."""
    memory = bare(kind, nu=1)
    keys = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).double()
    _, values = random_pairs(3)
    state = written(memory, keys, values[:2])
    torch.testing.assert_close(recalled(memory, keys, state), values[:2], rtol=1e-4, atol=0)
    state = written(memory, keys[:1], values[2:], state)
    expected = values[[2, 1]]
    torch.testing.assert_close(recalled(memory, keys, state), expected, rtol=1e-4, atol=1e-4)


def n_told_apart(kind, n_pairs: int, d_mem: int, nu: int) -> float:
    """Of pairs that were written one a segment, how many recalled values are nearest their own.

    The mean of some draws.
    """
    n_right = 0
    for seed in range(5):
        memory = bare(kind, d_mem, nu)
        keys, values = random_pairs(n_pairs, d_mem, seed)
        found = recalled(memory, keys, written(memory, keys, values))
        nearest = torch.cdist(found, values).argmin(dim=1)
        n_right += (nearest == torch.arange(n_pairs)).sum().item()
    return n_right / 5


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_more_features_hold_more_pairs(kind):
    """2 * nu * d_mem of them: of 60 pairs the more are told apart the larger nu and d_mem are."""
    by_nu = [n_told_apart(kind, 60, 8, nu) for nu in (1, 2, 3)]
    by_d_mem = [n_told_apart(kind, 60, d_mem, 3) for d_mem in (2, 4, 8, 16)]
    for counts in (by_nu, by_d_mem):
        assert counts == sorted(set(counts))
        assert counts[-1] > 1.3 * counts[0]


# Its state


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_memory_knows_nothing_and_gives_no_nan(kind):
    """Not even where rows have no features at all."""
    memory = random_memory(kind)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    assert not memory.read(x, *memory.empty(2)).any()
    for rows in (x, torch.zeros_like(x)):
        rows = rows.requires_grad_()
        state = memory.write(rows[:, -2:], *memory.empty(2))
        state = memory.write(rows[:, -2:], *state)
        memory.read(rows, *state).square().sum().backward()
        assert rows.grad.isfinite().all()
        assert all(weight.grad.isfinite().all() for weight in memory.parameters())
    assert not state[0].any(), "a row without features writes nothing"


@torch.no_grad()
def test_what_is_empty_is_told_for_every_stream():
    """A new stream beside an old one is written as if it were alone."""
    memory = random_memory(AssociativeMemory)
    x, y = torch.randn(2, 2, 3, 6, dtype=torch.float64)
    old = memory.write(x[:1], *memory.empty(1))
    both = [torch.cat(pair) for pair in zip(old, memory.empty(1), strict=True)]
    found = memory.write(y, *both)
    expected = [memory.write(y[:1], *old), memory.write(y[1:], *memory.empty(1))]
    for own, parts in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(own, torch.cat(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_does_not_grow_by_writing_the_same_again_and_again(kind):
    """Of four rows with much in common, a thousand times."""
    memory = random_memory(kind)
    x = 1 + 0.1 * torch.randn(1, 4, 6, dtype=torch.float64)
    state, sizes = memory.empty(1), []
    for _ in range(1000):
        state = memory.write(x, *state)
        sizes.append(memory.read(x, *state).abs().max().item())
    assert max(sizes) < 10 * sizes[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_the_state_is_of_full_precision_in_any_layer(kind, precision):
    memory = random_memory(kind).float()
    x = torch.randn(2, 5, 6)
    full = memory.write(x, *memory.write(x, *memory.empty(2)))
    with torch.autocast("cpu", precision):
        found = memory.write(x, *memory.write(x, *memory.empty(2)))
        assert memory.read(x.to(precision), *found).dtype == precision
    for own, expected in zip(found, full, strict=True):
        if own is not None:
            assert own.dtype == torch.float32
            assert torch.equal(own, expected)
    assert memory.to(precision).empty(2)[0].dtype == torch.float32
    assert memory.double().empty(2)[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("kind", "options"), [(DeltaMemory, {}), (AssociativeMemory, {"correction": False})]
)
def test_gradients_of_what_is_read_after_two_writes_are_those_of_differences(kind, options):
    """Of rows, states and weights; gamma has no gradient by definition, so it is left out."""
    memory = random_memory(kind, d_model=3, d_mem=2, **options)
    first, second, query = torch.randn(3, 2, 2, 3, dtype=torch.float64)
    A_BFD, z_BF = memory.empty(2)
    state = [torch.rand_like(A_BFD)] + ([] if z_BF is None else [torch.rand_like(z_BF)])
    inputs = [each.requires_grad_() for each in (first, second, query, *state)]

    def read(first, second, query, A_BFD, z_BF=None, *_weights):
        return memory.read(query, *memory.write(second, *memory.write(first, A_BFD, z_BF)))

    weights = list(memory.parameters())  # which are moved where they are
    if z_BF is None:
        inputs.append(None)
    assert torch.autograd.gradcheck(read, (*inputs, *weights))
