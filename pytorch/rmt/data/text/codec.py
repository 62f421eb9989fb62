"""Text to ids of a vocabulary, and back: between people and a trained model."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rmt.data.text.reading import Reading
from rmt.data.text.sources import Part, Source
from rmt.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Codec:
    """How text is read, and the ids of its symbols."""

    reading: Reading
    vocabulary: Vocabulary

    def encode(self, text: str) -> np.ndarray:
        """Ids [n] (int64) of a text that goes on. UsageError for a symbol that has none."""
        blocks = self.blocks(self.reading.whole(given_text(text)))
        return np.concatenate([np.empty(0, np.int64), *blocks]).astype(np.int64)

    def blocks(self, part: Part) -> Iterator[np.ndarray]:
        """The same of a file, some at a time."""
        return self.reading.tokenizer.encode(part, self.vocabulary, goes_on=True)

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.pieces(ids))

    def pieces(self, ids: Iterable[int], after: int | None = None) -> Iterator[str]:
        """The text of each id as soon as it comes; after is the id before the first.

        Words are joined by one space, and lines end where the training text's did.
        """
        symbols = self.vocabulary.symbols
        before = None if after is None else symbols[after]
        return self.reading.tokenizer.write((symbols[i] for i in ids), before)

    def shown(self, i: int) -> str:
        """The symbol of an id for people to see, in a row with others."""
        return self.reading.tokenizer.shown(self.vocabulary.symbols[i])


def given_text(text: str) -> Source:
    """Text from a command line, or of a program, as a source."""
    # What is no UTF-8 on a command line comes out as it was.
    content = text.encode("utf-8", "surrogateescape")
    return Source("the prompt", lambda: io.BytesIO(content))
