"""The text between the facts, sentence by sentence."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.data.tasks.stories.world import Words
from rmt.data.text.pydoc import reference
from rmt.runtime.errors import UsageError

LEAST = 10  # words of a sentence, as published


def words(text: str) -> Words:
    """Words and punctuation, in small letters."""
    return tuple(re.findall(r"\w+|[^\w\s]", text.lower()))


def read_sentences(path: str) -> list[str]:
    """Of a text file, those of LEAST words or more; of the language reference inside Python if path
    is empty.

    Raises UsageError for a file that can't be read or has no such sentences.
    """
    try:
        text = Path(path).read_text("utf-8") if path else reference().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the background {path} can't be read ({error})") from None
    sentences = re.split(r"(?<=[.!?])\s+", text)
    long_enough = [sentence for sentence in sentences if len(words(sentence)) >= LEAST]
    if not long_enough:
        raise UsageError(f"the background {path} has no sentence of {LEAST} words or more")
    return long_enough


@dataclass(frozen=True, eq=False)
class Background:
    """Sentences one after the other, and the first again after the last.

    ids: [W] of all tokens. ends: [S], where in it each sentence ends.
    """

    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, sentences: Iterable[Sequence[int]], dtype: np.dtype) -> "Background":
        """Of the ids of every sentence."""
        sentences = list(sentences)
        every = np.fromiter(itertools.chain.from_iterable(sentences), dtype)
        return cls(every, np.cumsum([len(sentence) for sentence in sentences]))

    @property
    def n_sentences(self) -> int:
        return len(self.ends)

    def start(self, sentence: int) -> int:
        return int(self.ends[sentence - 1]) if sentence else 0

    def n_needed(self, first: int, n_tokens: int) -> int:
        """How many sentences from `first` on hold n_tokens; the last may hold more."""
        if not n_tokens:
            return 0
        turns, last = divmod(self.start(first) + n_tokens - 1, len(self.ids))
        return turns * self.n_sentences + int(np.searchsorted(self.ends, last, "right")) + 1 - first

    def sentences(self, first: int, n_tokens: int) -> Iterator[np.ndarray]:
        """From `first` on, the last cut so that all have exactly n_tokens."""
        i = first
        while n_tokens:
            sentence = self.ids[self.start(i) : self.ends[i]][:n_tokens]
            yield sentence
            n_tokens -= len(sentence)
            i = (i + 1) % self.n_sentences
