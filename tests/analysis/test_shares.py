"""How much attention goes to memory and cache, averaged over segments."""

import numpy as np
import pytest
import torch

from helpers.models import LENGTHS, V, tiny_model
from rmt.analysis.capture import text_maps
from rmt.analysis.patterns import SegmentMaps
from rmt.analysis.shares import measure_shares
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError

LETTERS = Vocabulary([chr(ord("a") + i) for i in range(V - 1)] + ["\n"])
T = 5


def maps_of(model, n_tokens: int) -> list[SegmentMaps]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(V, (n_tokens,), generator=generator).numpy().astype(np.uint8)
    return list(text_maps(model, ids, LETTERS.symbols.__getitem__, T))


@pytest.mark.parametrize("name", LENGTHS)
def test_the_shares_of_a_token_add_up_to_one(name):
    shares = measure_shares(maps_of(tiny_model(name), 8 * T + 1))
    assert shares.n_segments == 7
    total = sum(shares.by_region.values())
    assert total.shape == (3, 2, T)
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert (
        shares.before
        == {
            "baseline": (),
            "mt": ("read",),
            "trxl": ("cache",),
            "rmt": ("read",),
            "trxl_rmt": ("cache", "read"),
        }[name]
    )
    assert all((shares.by_region[region] > 0).all() for region in shares.before)


def test_shares_are_sums_over_the_keys_of_a_region():
    """Of two segments after the first, weighed alike; a short last one is left out."""
    sizes = {"cache": 1, "read": 2, "tokens": 2, "write": 2}
    random = np.random.default_rng(0)
    layers = [random.random((2, 6, 7)) for _ in range(3)]
    # The last layer computes no rows of the read memory.
    segments = [SegmentMaps((own, own[:, 2:]), sizes, ("a", "b"), 2) for own in layers]
    short = SegmentMaps((layers[0][:, :5, :6],), sizes | {"tokens": 1}, ("a",), 1)
    shares = measure_shares([*segments, short])
    assert shares.n_segments == 2
    expected = (layers[1] + layers[2])[:, 2:4] / 2
    for layer in (0, 1):
        for region, keys in (("cache", [0]), ("read", [1, 2]), ("tokens", [3, 4])):
            found = shares.by_region[region][layer]
            np.testing.assert_allclose(found, expected[..., keys].sum(axis=2))
    np.testing.assert_allclose(shares.by_head("read")[0], expected[..., 1:3].sum(2).mean(1))
    np.testing.assert_allclose(shares.by_layer("read")[0], expected[..., 1:3].sum(2).mean())
    np.testing.assert_allclose(shares.by_position("read")[0], expected[..., 1:3].sum(2).mean(0))


def test_maps_of_a_text_are_those_of_its_segments_with_carried_state():
    model = tiny_model("trxl_rmt")
    segments = maps_of(model, 4 * T - 1)
    assert [len(maps.symbols) for maps in segments] == [T, T, T, T - 2]
    assert [maps.sizes["cache"] for maps in segments] == [0, T, 9, 9]
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(V, (1, 4 * T - 1), generator=generator)
    state = model.advance(tokens[:, :T])
    attention, _ = model.attention(tokens[:, T : 2 * T], state, predict=True)
    for found, expected in zip(segments[1].layers, attention.layers, strict=True):
        np.testing.assert_array_equal(found, expected)
    seen = "".join(symbol for maps in segments for symbol in maps.symbols)
    assert seen == "".join(LETTERS.decode(tokens[0, :-1].tolist()))


def test_a_text_of_one_segment_says_nothing_of_what_was_before():
    with pytest.raises(UsageError, match="too short: it holds no whole segment after the first"):
        measure_shares(maps_of(tiny_model("rmt"), 2 * T))
