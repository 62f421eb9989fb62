"""Sentences as ids."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from rmt.data.tasks.stories.background import Background, words
from rmt.data.tasks.stories.world import Words

UNKNOWN = "<unk>"


def frequent_words(sentences: Iterable[Words], n: int) -> list[str]:
    """The n most frequent words; of those that are as frequent the first that comes."""
    return [word for word, _ in Counter(w for s in sentences for w in s).most_common(n)]


class OfWords:
    """Every word is a token.

    symbols: special ones, with UNKNOWN among them, the words that stories can have, and of the text
    between the facts the n_words most frequent.
    """

    def __init__(
        self, special: Sequence[str], own: Sequence[str], sentences: Sequence[str], n_words: int
    ):
        """sentences: of the text between the facts."""
        self.between = [words(sentence) for sentence in sentences]
        known = {*own, *special}
        frequent = [w for w in frequent_words(self.between, n_words) if w not in known]
        self.symbols = (*special, *own, *frequent)
        self.ids = {word: i for i, word in enumerate(self.symbols)}

    @cached_property
    def background(self) -> Background:
        unknown = self.ids[UNKNOWN]
        every = ([self.ids.get(word, unknown) for word in sentence] for sentence in self.between)
        return Background.of(every, np.dtype("uint16"))

    def encoded(self, sentence: Words) -> np.ndarray:
        return np.array([self.ids[word] for word in sentence], dtype=np.uint16)

    def answer(self, word: str) -> int:
        return self.ids[word]
