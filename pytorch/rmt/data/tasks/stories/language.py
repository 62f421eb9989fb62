"""Sentences as ids: words, or tokens of a pretrained model."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from rmt.data.tasks.stories.background import Background, words
from rmt.data.tasks.stories.world import PEOPLE, Words
from rmt.data.text import pretrained
from rmt.data.text.encoding import id_type
from rmt.data.vocabulary import UNKNOWN

STOP = "."  # what a sentence stands after


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
        self.dtype = np.promote_types(id_type(len(self.symbols)), np.uint16)

    @cached_property
    def background(self) -> Background:
        unknown = self.ids[UNKNOWN]
        every = ([self.ids.get(word, unknown) for word in sentence] for sentence in self.between)
        return Background.of(every, self.dtype)

    def encoded(self, sentence: Words) -> np.ndarray:
        return np.array([self.ids[word] for word in sentence], self.dtype)

    def answer(self, word: str) -> int:
        return self.ids[word]


class OfTokens:
    """Tokens of a pretrained model, of sentences as people write them."""

    def __init__(self, option: str, sentences: Sequence[str]):
        """option: hf:FOLDER. Raises UsageError where no tokenizer is there."""
        tokenizer = pretrained.reading(option).tokenizer
        self.tokenizer, self.symbols = tokenizer.made, tuple(tokenizer.symbols)
        self.between = sentences

    @cached_property
    def background(self) -> Background:
        return Background.of(map(self.ids_of, self.between), id_type(len(self.symbols)))

    def encoded(self, sentence: Words) -> np.ndarray:
        return np.array(self.ids_of(written(sentence)), id_type(len(self.symbols)))

    def answer(self, word: str) -> int:
        """The first token of the word."""
        return self.ids_of(word)[0]

    def ids_of(self, text: str) -> list[int]:
        """Of a text that stands after a sentence, on the same line."""
        line = f"{STOP} {' '.join(text.split())}"
        before, ids = (self.tokenizer.encode(t, add_special_tokens=False).ids for t in (STOP, line))
        return ids[len(before) :]


Language = OfWords | OfTokens


def written(sentence: Words) -> str:
    """A sentence as people write it: "Anna walks into the garden."."""
    *most, mark = (word.capitalize() if word in PEOPLE else word for word in sentence)
    text = " ".join(most) + mark
    return text[0].upper() + text[1:]
