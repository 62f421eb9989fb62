"""Patterns in attention maps, on maps made by hand and on maps of a small model."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from helpers.data import make_task
from helpers.models import tiny_model
from rmt.analysis.capture import attention_maps
from rmt.analysis.patterns import (
    MIN_ORDER,
    SegmentMaps,
    find_patterns,
    is_pattern,
    measure,
)

# --- the measure ---------------------------------------------------------------------------------


def line(n_rows: int, n_columns: int) -> np.ndarray:
    """A straight line from the top left to the bottom right; every row of 1 in all."""
    block = np.zeros((n_rows, n_columns))
    for i in range(n_rows * n_columns):  # fine steps, so that both ratios come out even
        block[i // n_columns, i // n_rows] += 1 / n_columns
    return block


def is_found(block: np.ndarray) -> bool:
    return is_pattern(measure(block), len(block))


def blurred(block: np.ndarray) -> np.ndarray:
    """Half of the attention goes to the columns beside."""
    padded = np.pad(block, ((0, 0), (1, 1)))
    mixed = padded[:, 1:-1] / 2 + padded[:, :-2] / 4 + padded[:, 2:] / 4
    return mixed / mixed.sum(axis=1, keepdims=True)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def pieces(n: int, starts: list[int]) -> np.ndarray:
    """Rows that attend to one of n columns each: starts, and after each the columns beyond it."""
    columns = [column for start in starts for column in range(start, start + n // len(starts))]
    return np.eye(n)[columns]


STRAIGHT = {
    "diagonal": np.eye(6),
    "short": np.eye(5),
    "long": np.eye(24),
    "offset": np.eye(6, 12, k=4),
    "compressed, two tokens per row": line(6, 12),
    "read from a compressed memory": line(12, 6),
    "three tokens per memory token": line(8, 24),
    "blurred": blurred(np.eye(6)),
    "half its mass": 0.55 * np.eye(12),
    "over even attention": 0.8 * np.eye(12) + 0.2 / 12,
    "beside resting rows": np.concatenate([np.eye(12, 8)[:8], np.full((4, 8), 0.02)]),
    "on at the memory's other end": np.roll(np.eye(12), 5, axis=0),
    "blurred, on at the other end": np.roll(blurred(np.eye(12)), 5, axis=0),
    "two halves that begin alike": np.tile(np.eye(6), (2, 1)),
    "pieces in reversed order": pieces(12, [8, 4, 0]),
}


@pytest.mark.parametrize("block", STRAIGHT.values(), ids=STRAIGHT)
def test_straight_lines_are_patterns_in_both_directions(block):
    assert is_found(block)
    assert measure(block).order >= MIN_ORDER
    assert is_found(block[:, ::-1])
    assert measure(block[:, ::-1]).order <= -MIN_ORDER


def test_the_direction_of_pieces_is_what_counts_not_that_of_the_whole():
    # As solved models write: each piece runs up, but every next one lies further right.
    block = pieces(12, [8, 4, 0])[:, ::-1]
    rows, columns = np.nonzero(block)
    assert np.corrcoef(rows, columns)[0, 1] > 0.7
    assert measure(block).order == pytest.approx(-9 / 11), "11 moves, of which 2 are jumps"
    assert is_found(block)


def test_a_diagonal_has_all_mass_and_order_one():
    found = measure(np.eye(8))
    assert (found.mass, found.n_active) == (1.0, 8)
    assert found.order == pytest.approx(1)
    assert measure(np.eye(8)[::-1]).order == pytest.approx(-1)
    assert measure(np.eye(6, 12, k=4)).order == pytest.approx(1), "wherever it starts"
    assert measure(0.3 * np.eye(8)).mass == pytest.approx(0.3)


def test_a_line_that_goes_on_at_the_other_end_loses_one_move():
    for turn in range(1, 12):
        assert measure(np.roll(np.eye(12), turn, axis=0)).order == pytest.approx(10 / 11)


CAUSAL = np.tril(np.ones((12, 12))) / np.arange(1, 13)[:, None]
random = np.random.default_rng(0)
REJECTED = {
    "uniform": np.full((12, 12), 1 / 12),
    "causal, spread evenly": CAUSAL,
    "all in one column": np.eye(12)[np.zeros(12, dtype=int)],
    "the same columns in all rows": np.tile(softmax(random.normal(size=(1, 12)) * 3), (12, 1)),
    "little mass": 0.4 * np.eye(12),
    "four rows": np.eye(4, 12),
    "half of the rows, the others elsewhere": 0.9 * np.eye(12) * (np.arange(12) < 5)[:, None],
    "active in the first rows only": np.concatenate([np.eye(5, 12), np.full((7, 12), 0.02)]),
    "there and back": np.concatenate([np.eye(12)[:6], np.eye(12)[5::-1]]),
    "in large jumps": np.eye(12)[[0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]],
    "one step": np.eye(12)[[4] * 6 + [5] * 6],
    "none": np.zeros((12, 12)),
    "no rows": np.zeros((0, 12)),
    "no columns": np.zeros((12, 0)),
}


@pytest.mark.parametrize("block", REJECTED.values(), ids=REJECTED)
def test_everything_else_is_no_pattern(block):
    assert not is_found(block)
    assert not is_found(block[:, ::-1])


@pytest.mark.parametrize("sharpness", [0.5, 2, 5])
def test_random_attention_is_no_pattern(sharpness):
    random = np.random.default_rng(1)
    blocks = sharpness * random.normal(size=(300, 12, 12))
    assert not any(is_found(softmax(block)) for block in blocks)


def test_chance_gives_few_patterns_where_every_row_sees_one_random_column():
    random = np.random.default_rng(2)
    for n in (5, 6, 8, 12):
        columns = random.integers(n, size=(1000, n))
        assert np.mean([is_found(np.eye(n)[each]) for each in columns]) < 0.03
    of_five = [is_found(np.eye(5)[list(rows)]) for rows in itertools.permutations(range(5))]
    assert sum(of_five) == 2, "in order and reversed, of 120"


def moves_of(block: np.ndarray) -> tuple[float, float]:
    """Forward less back, and all moves, added up one pair of columns after the other."""
    reach = max(2, -(-2 * block.shape[1] // block.shape[0]))
    rows = [row / row.sum() for row in block if row.sum() >= 0.5]
    forward = moved = 0.0
    for row, following in itertools.pairwise(rows):
        for (a, left), (b, right) in itertools.product(enumerate(row), enumerate(following)):
            if a != b:
                moved += left * right
                if abs(b - a) <= reach:
                    forward += left * right * (1 if b > a else -1)
    return forward, moved


@given(st.permutations(range(10)))
def test_rows_in_another_order_destroy_a_diagonal(rows):
    block = np.eye(10)[rows]
    forward, moved = moves_of(block)
    assert moved == 9
    assert measure(block).order == pytest.approx(forward / 9)
    assert is_found(block) <= (abs(forward) >= 5)
    assert is_found(block) >= (abs(forward) >= 7), "less than 1 in 100 orders has as much"


@st.composite
def attention_blocks(draw) -> np.ndarray:
    """Rows that put a part of their attention into the block."""
    n_rows, n_columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    values = st.lists(st.floats(0, 1), min_size=n_rows * n_columns, max_size=n_rows * n_columns)
    block = np.array(draw(values)).reshape(n_rows, n_columns)
    return block / np.maximum(block.sum(axis=1, keepdims=True), draw(st.floats(0.5, 4)))


@given(attention_blocks())
def test_measures_stay_in_their_ranges_and_change_sign_in_the_mirror(block):
    found, mirrored = measure(block), measure(block[:, ::-1])
    assert 0 <= found.mass <= 1
    assert abs(found.order) <= 1
    assert 0 < found.chance <= 1
    assert mirrored.order == pytest.approx(-found.order, abs=1e-6)
    assert (mirrored.mass, mirrored.n_active) == (pytest.approx(found.mass), found.n_active)


@given(attention_blocks())
def test_order_is_the_share_of_moves(block):
    shares = block.sum(axis=1)
    assume((abs(shares - 0.5) > 1e-6).all())
    forward, moved = moves_of(block)
    assume(moved > 1e-6)
    assert measure(block).order == pytest.approx(forward / moved, abs=1e-6)
    assert measure(block).n_active == (shares > 0.5).sum()


# --- where it is looked for ----------------------------------------------------------------------

SIZES = {"cache": 0, "read": 6, "tokens": 8, "write": 6}


def segment(attention: dict | None = None, sizes=SIZES, n_scored: int = 8) -> SegmentMaps:
    """Two layers of two heads; the last layer has no rows of read memory.

    attention: of (layer, head, operation) the block that is put there; all else is even.
    """
    n_keys = sum(sizes.values())
    n_rows = n_keys - sizes["cache"]
    even = np.full((2, n_rows, n_keys), 1 / n_keys)
    layers = (even.copy(), even.copy())
    maps = SegmentMaps(layers, sizes, ("1",) * sizes["tokens"], n_scored)
    for (layer, head, kind), block in (attention or {}).items():
        (first, end), (left, right) = maps.place(kind)
        rows = slice(first - sizes["cache"], end - sizes["cache"])
        layers[layer][head, rows] = 0
        layers[layer][head, rows, left:right] = block
    return SegmentMaps((layers[0], layers[1][:, sizes["read"] :]), sizes, maps.symbols, n_scored)


def places(segments) -> set:
    return {(p.segment, p.layer, p.head, p.name) for p in find_patterns(segments)}


def test_operations_are_found_where_they_are():
    first = segment({(0, 1, "write"): line(6, 8), (1, 0, "write"): line(6, 8)[:, ::-1]}, n_scored=0)
    second = segment({(1, 1, "read"): line(8, 6), (0, 0, "rewrite"): np.eye(6)})
    assert places([first, second, segment()]) == {
        (0, 0, 1, "write"),
        (0, 1, 0, "write, reversed"),
        (1, 1, 1, "read"),
        (1, 0, 0, "rewrite"),
    }


def test_the_strongest_comes_first():
    sharp, weak = {(0, 0, "write"): np.eye(6, 8)}, {(0, 0, "write"): 0.6 * np.eye(6, 8)}
    found = find_patterns([segment(weak), segment(sharp), segment()])
    assert [pattern.segment for pattern in found] == [1, 0]
    assert found[1].mass == pytest.approx(0.6)


def test_nothing_is_looked_for_where_nothing_can_be_passed_on():
    everything = {(0, 0, "write"): np.eye(6, 8), (0, 1, "rewrite"): np.eye(6)}
    everything |= {(1, 0, "read"): line(8, 6), (1, 1, "read"): line(8, 6)[::-1]}
    first, last = segment(everything), segment(everything)
    assert places([first, last]) == {
        (0, 0, 0, "write"),
        (1, 1, 0, "read"),
        (1, 1, 1, "read, reversed"),
    }
    mt = {"cache": 0, "read": 6, "tokens": 8, "write": 0}
    reading = segment({(0, 0, "read"): line(8, 6)}, mt)
    assert not places([reading, reading]), "a memory that is never written"


def test_only_tokens_that_answer_are_said_to_read():
    answering = segment({(0, 0, "read"): np.eye(5, 6)}, n_scored=5)
    assert places([segment(), answering])
    assert not places([segment(), replace(answering, n_scored=0)])


def test_a_cache_is_read_too():
    sizes = {"cache": 10, "read": 0, "tokens": 8, "write": 0}
    reading = segment({(1, 1, "read cache"): np.eye(8, 10, k=1)[:, ::-1]}, sizes)
    assert places([segment(sizes=sizes), reading]) == {(1, 1, 1, "read cache, reversed")}


@pytest.mark.parametrize("distance", [1, 2, 3, 5])
@pytest.mark.parametrize("spread_out", [False, True])
@pytest.mark.parametrize("before", ["cache", "read"])
def test_heads_that_look_a_few_tokens_back_read_nothing(distance, spread_out, before):
    sizes = {"cache": 0, "read": 0, "tokens": 12, "write": 0} | {before: 12}
    sizes["write"] = sizes["read"]
    n_keys = sum(sizes.values())
    attention = np.zeros((1, 12, n_keys))
    for row in range(12):
        back = range(1, distance + 1) if spread_out else [distance]
        attention[0, row, [12 + row - steps for steps in back]] = 1 / len(back)
    attention = np.pad(attention, ((0, 0), (sizes["read"], sizes["write"]), (0, 0)))
    maps = SegmentMaps((attention,), sizes, ("1",) * 12, 12)
    assert find_patterns([maps, maps, maps]) == []


# --- attention of a model ------------------------------------------------------------------------

TASK = make_task("reverse", n=6)
SAMPLE = TASK.generate(np.random.default_rng(0), 1)[0]


@pytest.mark.parametrize("model", ["baseline", "mt", "trxl", "rmt", "trxl_rmt"])
def test_every_computed_row_is_kept_at_its_place(model):
    sizes = {"mem_len": 0 if model == "baseline" else 3}
    net = tiny_model(model, n_token=len(TASK.symbols), cache_len=0, **sizes)
    if model == "trxl_rmt":
        net = net.with_lengths(cache_len=5)
    segments = attention_maps(net, TASK, SAMPLE, 4)
    assert "".join("".join(maps.symbols) for maps in segments) == "".join(
        TASK.symbols[i] for i in SAMPLE[:-1]
    )
    assert [maps.n_scored for maps in segments] == [0, 2, 4]
    carried = {"trxl": [0, 3, 3], "trxl_rmt": [0, 4, 5]}.get(model, [0, 0, 0])
    assert [maps.sizes["cache"] for maps in segments] == carried
    for maps in segments:
        for attention_HQK in maps.layers:
            assert attention_HQK.shape[2] == maps.n_keys
            np.testing.assert_allclose(attention_HQK.sum(axis=2), 1, rtol=1e-5)
        # Row by row: a token sees itself but none of the tokens and memory after it.
        start, end = maps.span("tokens")
        for attention_HQK in maps.layers[: 3 if maps.n_scored else 2]:
            n_left_out = maps.n_keys - attention_HQK.shape[1]
            for key in range(start, end) if attention_HQK.size else []:
                assert (attention_HQK[:, key - n_left_out, key] > 0).all()
                assert (attention_HQK[:, key - n_left_out, key + 1 :] == 0).all()
    n_write = segments[0].sizes["write"]
    assert segments[0].layers[2].shape[1] == n_write, "rows that only a prediction would need"
    assert segments[1].layers[2].shape[1] == 4 + n_write, "tokens and write memory"


def test_looking_changes_nothing():
    net = tiny_model("rmt", n_token=len(TASK.symbols))
    tokens = torch.from_numpy(SAMPLE[None, :4].astype(np.int64))
    expected, _ = net.predict(tokens)
    attention, state = net.attention(tokens, None, predict=True)
    assert len(attention.layers) == 3
    again, expected_state = net.predict(tokens)
    assert torch.equal(again, expected)
    assert torch.equal(state.memory, expected_state.memory)
