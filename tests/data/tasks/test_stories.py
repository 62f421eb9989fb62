"""What tasks of facts in a long text share: facts in a text, and sentences as ids."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmt.data.tasks.stories.background import Background
from rmt.data.tasks.stories.spreading import first, spread

# A story in a text


def background(lengths: list[int]) -> Background:
    """Sentences of these lengths; no two of their words are equal."""
    return Background(np.arange(100, 100 + sum(lengths), dtype=np.uint16), np.cumsum(lengths))


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    facts=st.lists(st.integers(1, 5), max_size=5),
    n_more=st.integers(0, 60),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize("put", [spread, first])
def test_a_body_has_exactly_so_many_tokens(put, lengths, facts, n_more, seed):
    text, told = background(lengths), [np.full(n, i, np.uint16) for i, n in enumerate(facts)]
    pieces = list(put(told, text, sum(facts) + n_more, np.random.default_rng(seed)))
    body = np.concatenate([np.zeros(0, np.uint16), *pieces])
    assert len(body) == sum(facts) + n_more
    expected = [i for i, n in enumerate(facts) for _ in range(n)]
    assert body[body < 100].tolist() == expected
    if put is first:
        assert body[: sum(facts)].tolist() == expected
    words = (body[body >= 100] - 100).tolist()
    size = sum(lengths)
    starts = {0, *np.cumsum(lengths)[:-1].tolist()}
    if words:
        assert words[0] in starts, "it begins with a sentence"
    assert words == [(words[0] + i) % size for i in range(n_more)], "and goes on from it"
    # Facts stand between sentences, never inside of one.
    for before, fact in itertools.pairwise(body):
        if before >= 100 > fact:
            ends = {(end - 1) for end in np.cumsum(lengths).tolist()}
            is_cut = before == body[body >= 100][-1]
            assert before - 100 in ends or is_cut


def test_every_place_is_as_likely():
    text, fact = background([2] * 50), [np.zeros(1, np.uint16)]
    places = np.zeros(11)
    for seed in range(3300):
        body = np.concatenate(list(spread(fact, text, 21, np.random.default_rng(seed))))
        places[int(np.flatnonzero(body == 0)[0]) // 2] += 1
    assert np.abs(places / 3300 - 1 / 11).max() < 0.03


@pytest.mark.parametrize("put", [spread, first])
def test_a_long_text_is_made_piece_by_piece(put):
    text, fact = background([5, 3]), [np.zeros(2, np.uint16)]
    pieces = put(fact, text, 10**9, np.random.default_rng(0))
    assert all(len(next(pieces)) <= 5 for _ in range(100))
