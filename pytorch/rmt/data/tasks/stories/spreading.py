"""Facts in a text of exactly so many tokens, piece by piece."""

from collections.abc import Iterator

import numpy as np

from rmt.data.tasks.stories.background import Background


def spread(
    facts: list[np.ndarray],
    background: Background,
    n_tokens: int,
    random: np.random.Generator,
) -> Iterator[np.ndarray]:
    """The facts in their order among background sentences: pieces of n_tokens ids in all.

    The background begins at any sentence and is cut where n_tokens are reached. Each fact draws one
    of the places before, between and after its sentences, of which several facts may have the same
    (Kuratov et al. 2024). Nothing is kept but the facts, however long the text is.
    """
    n_between = n_tokens - sum(map(len, facts))
    first = int(random.integers(background.n_sentences))
    n_sentences = background.n_needed(first, n_between)
    places = np.sort(random.integers(n_sentences + 1, size=len(facts)))
    n_told = 0
    for i, sentence in enumerate(background.sentences(first, n_between)):
        while n_told < len(facts) and places[n_told] == i:
            yield facts[n_told]
            n_told += 1
        yield sentence
    yield from facts[n_told:]


def first(
    facts: list[np.ndarray],
    background: Background,
    n_tokens: int,
    random: np.random.Generator,
) -> Iterator[np.ndarray]:
    """As spread, with the facts before all else."""
    yield from facts
    begin = int(random.integers(background.n_sentences))
    yield from background.sentences(begin, n_tokens - sum(map(len, facts)))


def alone(facts: list[np.ndarray], n_tokens: int, padding: int) -> Iterator[np.ndarray]:
    """The facts without a text, after as much padding as it takes."""
    yield np.full(n_tokens - sum(map(len, facts)), padding, dtype=np.uint16)
    yield from facts
