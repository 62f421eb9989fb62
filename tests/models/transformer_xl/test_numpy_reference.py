"""Self-checks of the NumPy reference; they need no PyTorch model."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.numpy_reference import LAYOUTS, attention, layer, reference_segment, sinusoid, visible

V, D, E, INNER = 23, 16, 12, 20

DRAWING = """
x x . . . . .
x x . . . . .
x x x . . . .
x x x x . . .
x x x x x . .
x x x x x x x
x x x x x x x
"""


def make_config(model, **changes):
    options = {
        "model": model,
        "n_layer": 3,
        "n_head": 2,
        "d_head": 5,
        "d_model": D,
        "mem_len": 0 if model == "baseline" else 2,
        "cache_len": 4 if model == "trxl_rmt" else 0,
        "cutoffs": (),
        "n_token": V,
        "clamp_len": -1,
        "same_length": False,
        "read_mem_from_cache": False,
        "pre_lnorm": False,
    }
    return SimpleNamespace(**(options | changes))


def make_weights(config, d_embed=D, seed=0):
    """Random weights, large enough for every term of the formula to matter."""
    normal = np.random.default_rng(seed).normal
    wide = config.n_head * config.d_head
    weights = {
        "word_emb.emb_layers.0.weight": normal(0, 0.3, (V, d_embed)),
        "crit.out_layers.0.bias": normal(0, 0.3, V),
        "r_w_bias": normal(0, 0.5, (config.n_head, config.d_head)),
        "r_r_bias": normal(0, 0.5, (config.n_head, config.d_head)),
        "mem_tokens": normal(0, 1, (config.mem_len, 1, D)),
        "crit.cluster_weight": normal(0, 0.3, (len(config.cutoffs), d_embed)),
        "crit.cluster_bias": normal(0, 0.3, len(config.cutoffs)),
    }
    weights["crit.out_layers.0.weight"] = weights["word_emb.emb_layers.0.weight"]
    if d_embed != D:
        weights["word_emb.emb_projs.0"] = normal(0, 0.3, (D, d_embed))
        weights["crit.out_projs.0"] = normal(0, 0.3, (D, d_embed))
    for index in range(config.n_layer):
        att, ff = f"layers.{index}.dec_attn", f"layers.{index}.pos_ff"
        weights[att + ".qkv_net.weight"] = normal(0, 0.3, (3 * wide, D))
        weights[att + ".r_net.weight"] = normal(0, 0.3, (wide, D))
        weights[att + ".o_net.weight"] = normal(0, 0.3, (D, wide))
        for name, n_out, n_in in ((".CoreNet.0", INNER, D), (".CoreNet.3", D, INNER)):
            weights[ff + name + ".weight"] = normal(0, 0.3, (n_out, n_in))
            weights[ff + name + ".bias"] = normal(0, 0.3, n_out)
        for name in (att, ff):
            weights[name + ".layer_norm.weight"] = normal(1, 0.2, D)
            weights[name + ".layer_norm.bias"] = normal(0, 0.2, D)
    return weights


def make_text(n_tokens, seed=1):
    ids = np.random.default_rng(seed).integers(0, V, (2, n_tokens + 1))
    return ids[:, :-1], ids[:, 1:]


def run(config, weights, tokens, targets, lengths):
    """The nll [B, T] of a stream cut into segments of these lengths, and the last state."""
    state, parts, start = None, [], 0
    for length in lengths:
        piece = slice(start, start + length)
        nll, _, state = reference_segment(
            weights, config, tokens[:, piece], targets[:, piece], state
        )
        parts.append(nll)
        start += length
    return np.concatenate(parts, axis=1), state


@pytest.mark.parametrize("d_embed", [D, E])
@pytest.mark.parametrize("cutoffs", [(), (7,), (5, 9, 16)])
def test_probabilities_sum_to_one_and_hold_the_nll(d_embed, cutoffs):
    config = make_config("rmt", cutoffs=cutoffs)
    tokens, targets = make_text(5)
    nll, log_probs, _ = reference_segment(
        make_weights(config, d_embed), config, tokens, targets, None
    )
    assert log_probs.dtype == np.float64
    assert log_probs.shape == (2, 5, V)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-12)
    np.testing.assert_array_equal(
        -np.take_along_axis(log_probs, targets[..., None], 2)[..., 0], nll
    )


def test_the_last_head_column_is_the_first_cluster():
    config = make_config("baseline", cutoffs=(5, 9, 16))
    weights = make_weights(config)
    weights["crit.cluster_bias"][-1] = 100.0
    _, log_probs, _ = reference_segment(weights, config, *make_text(3), None)
    np.testing.assert_allclose(np.exp(log_probs[..., 5:9]).sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("pre_lnorm", [False, True])
@pytest.mark.parametrize("model", LAYOUTS)
def test_a_token_changes_only_the_present_and_the_future(model, pre_lnorm):
    config = make_config(model, pre_lnorm=pre_lnorm)
    weights, (tokens, targets) = make_weights(config), make_text(8)
    changed = tokens.copy()
    changed[:, 5] = (changed[:, 5] + 1) % V
    before, _ = run(config, weights, tokens, targets, (4, 4))
    after, _ = run(config, weights, changed, targets, (4, 4))
    np.testing.assert_allclose(after[:, :5], before[:, :5], rtol=1e-12)
    assert (np.abs(after[:, 5:] - before[:, 5:]) > 1e-6).all()


def test_the_mask_is_the_one_drawn_in_the_design():
    drawn = np.array([[cell == "x" for cell in line.split()] for line in DRAWING.split("\n")[1:-1]])
    np.testing.assert_array_equal(visible(make_config("rmt"), 0, 3), drawn)
    np.testing.assert_array_equal(visible(make_config("mt"), 0, 3), drawn[:5, :5])
    np.testing.assert_array_equal(visible(make_config("baseline"), 0, 3), drawn[2:5, 2:5])

    mask = visible(make_config("trxl_rmt"), 4, 3)
    np.testing.assert_array_equal(mask[:, 4:], drawn)
    np.testing.assert_array_equal(mask[:, :4].all(1), [0, 0, 1, 1, 1, 0, 0])
    assert not mask[[0, 1, 5, 6], :4].any()
    mask = visible(make_config("trxl_rmt", read_mem_from_cache=True), 4, 3)
    np.testing.assert_array_equal(mask[:, 4:], drawn)
    assert mask[:, :4].all()


def test_same_length_shows_every_token_equally_many_stream_tokens():
    config = make_config("trxl_rmt", same_length=True, cache_len=4)
    mask = visible(config, 4, 6)[2:-2]
    stream = np.concatenate([mask[:, :4], mask[:, 6:-2]], axis=1)
    for row, seen in enumerate(stream):
        assert np.flatnonzero(seen).tolist() == [row + 1, row + 2, row + 3, row + 4]
    assert mask[:, 4:6].all()
    with pytest.raises(ValueError, match="same_length"):
        visible(make_config("rmt", same_length=True), 0, 3)


@pytest.mark.parametrize("changes", [{}, {"pre_lnorm": True}, {"clamp_len": 3}])
def test_a_long_cache_equals_one_long_pass(changes):
    weights = make_weights(make_config("trxl"))
    tokens, targets = make_text(9)
    config = make_config("trxl", mem_len=9, **changes)
    whole, _ = run(make_config("baseline", **changes), weights, tokens, targets, (9,))
    pieces, state = run(config, weights, tokens, targets, (3, 4, 2))
    np.testing.assert_allclose(pieces, whole, rtol=1e-10)
    assert [rows.shape for rows in state["cache"]] == [(2, 9, D)] * 3

    short, state = run(make_config("trxl", **changes), weights, tokens, targets, (3, 4, 2))
    assert np.abs(short - whole)[:, 3:].max() > 1e-6
    assert [rows.shape for rows in state["cache"]] == [(2, 2, D)] * 3


def test_same_length_makes_segment_boundaries_invisible():
    config = make_config("trxl", mem_len=3, same_length=True)
    weights, (tokens, targets) = make_weights(config), make_text(9)
    whole, _ = run(config, weights, tokens, targets, (9,))
    pieces, _ = run(config, weights, tokens, targets, (3, 4, 2))
    np.testing.assert_allclose(pieces, whole, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "memory", "cache"),
    [
        ("baseline", None, None),
        ("mt", None, None),
        ("trxl", None, [(2, 2, D)] * 3),
        ("rmt", (2, 2, D), None),
        ("trxl_rmt", (2, 2, D), [(2, 4, D)] * 3),
    ],
)
def test_what_a_segment_hands_to_the_next(model, memory, cache):
    config = make_config(model)
    weights, (tokens, targets) = make_weights(config), make_text(6)
    streamed, state = run(config, weights, tokens, targets, (3, 3))
    assert (state["memory"] is None) == (memory is None)
    assert memory is None or state["memory"].shape == memory
    assert (state["cache"] is None) == (cache is None)
    assert cache is None or [rows.shape for rows in state["cache"]] == cache

    if cache is not None:  # layer 0 caches the embedded tokens, and no memory row
        kept = tokens[:, -cache[0][1] :]
        embedded = weights["word_emb.emb_layers.0.weight"][kept] * 4.0  # sqrt(16)
        np.testing.assert_allclose(state["cache"][0], embedded, rtol=1e-14)
    other, other_state = run(config, weights, tokens[:, ::-1], targets, (3, 3))
    assert np.abs(other - streamed).max() > 1e-6
    assert memory is None or np.abs(other_state["memory"] - state["memory"]).min() > 1e-6

    alone, _ = run(config, weights, tokens[:, 3:], targets[:, 3:], (3,))
    if model in ("baseline", "mt"):
        np.testing.assert_array_equal(streamed[:, 3:], alone)
    else:
        assert np.abs(streamed[:, 3:] - alone).min() > 1e-6


@pytest.mark.parametrize(("with_memory", "without"), [("rmt", "baseline"), ("trxl_rmt", "trxl")])
def test_no_memory_tokens_leaves_the_model_without_memory(with_memory, without):
    config = make_config(with_memory, mem_len=0)
    weights, text = make_weights(config), make_text(6)
    plain = make_config(without, mem_len=config.cache_len)
    ours, _ = run(config, weights, *text, (3, 3))
    np.testing.assert_allclose(ours, run(plain, weights, *text, (3, 3))[0], rtol=1e-12)


def test_distances_are_signed_and_clamped_on_both_sides():
    free, clamped = make_config("rmt"), make_config("rmt", clamp_len=3)
    half = D // 2
    np.testing.assert_array_equal(sinusoid(-2, free)[:half], -sinusoid(2, free)[:half])
    np.testing.assert_array_equal(sinusoid(-2, free)[half:], sinusoid(2, free)[half:])
    np.testing.assert_array_equal(sinusoid(-8, clamped), sinusoid(-3, free))
    np.testing.assert_array_equal(sinusoid(8, clamped), sinusoid(3, free))
    assert not np.array_equal(sinusoid(8, free), sinusoid(3, free))


def test_attention_without_queries_is_the_two_biases_alone():
    """With W_q = 0 the score is [u . k_j + v . W_r R(i - j)] / sqrt(d), whatever the query."""
    config = make_config("rmt", n_head=1, d_head=5)
    weights, name = make_weights(config), "layers.0.dec_attn"
    weights[name + ".qkv_net.weight"][:5] = 0.0
    x = np.random.default_rng(2).normal(size=(6, D))
    q_k_v = x @ weights[name + ".qkv_net.weight"].T
    mask = np.ones((4, 6), dtype=bool)  # also columns to the right: negative distances
    for row, actual in enumerate(attention(weights, name, config, x, 2, mask)):
        distances = np.array([sinusoid(2 + row - column, config) for column in range(6)])
        position = distances @ weights[name + ".r_net.weight"].T @ weights["r_r_bias"][0]
        content = q_k_v[:, 5:10] @ weights["r_w_bias"][0]
        share = np.exp((content + position) / np.sqrt(5))
        expected = (share / share.sum()) @ q_k_v[:, 10:] @ weights[name + ".o_net.weight"].T
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_pre_lnorm_attention_reads_normalised_rows_and_adds_to_raw_ones():
    config = make_config("baseline", pre_lnorm=True)
    weights = make_weights(config)
    weights["layers.0.pos_ff.CoreNet.3.weight"][:] = 0.0  # leaves x + attention + a constant
    x, cache = np.random.default_rng(3).normal(size=(2, 4, D))
    mask = np.ones((4, 8), dtype=bool)
    update = layer(weights, 0, config, x, cache, mask) - x
    larger = layer(weights, 0, config, 9 * x, 9 * cache, mask) - 9 * x
    np.testing.assert_allclose(larger, update, atol=1e-3)
    assert np.abs(update - update[0]).max() > 0.01
