"""The text between the facts: sentences of LEAST words or more, as ids."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.data.tasks.babilong.babi import words
from rmt.data.tasks.babilong.stories import Words
from rmt.data.text.pydoc import reference
from rmt.runtime.errors import UsageError

LEAST = 10  # words of a sentence, as published


def read_sentences(path: str) -> list[Words]:
    """Of a text file; of the language reference inside Python if path is empty.

    Raises UsageError for a file that can't be read or has no such sentences.
    """
    try:
        text = Path(path).read_text("utf-8") if path else reference().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the background {path} can't be read ({error})") from None
    sentences = [words(sentence) for sentence in re.split(r"(?<=[.!?])\s+", text)]
    long_enough = [sentence for sentence in sentences if len(sentence) >= LEAST]
    if not long_enough:
        raise UsageError(f"the background {path} has no sentence of {LEAST} words or more")
    return long_enough


def frequent_words(sentences: Sequence[Words], n: int) -> list[str]:
    """The n most frequent words; of those that are as frequent the first that comes."""
    return [word for word, _ in Counter(w for s in sentences for w in s).most_common(n)]


@dataclass(frozen=True, eq=False)
class Background:
    """Sentences one after the other, and the first again after the last.

    ids: [W] of all words. ends: [S], where in it each sentence ends.
    """

    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, sentences: Sequence[Words], ids: Mapping[str, int], unknown: int) -> "Background":
        every = [ids.get(word, unknown) for sentence in sentences for word in sentence]
        return cls(np.array(every, dtype=np.uint16), np.cumsum([len(s) for s in sentences]))

    @property
    def n_sentences(self) -> int:
        return len(self.ends)

    def start(self, sentence: int) -> int:
        return int(self.ends[sentence - 1]) if sentence else 0

    def n_needed(self, first: int, n_words: int) -> int:
        """How many sentences from `first` on hold n_words; the last may hold more."""
        if not n_words:
            return 0
        turns, last = divmod(self.start(first) + n_words - 1, len(self.ids))
        return turns * self.n_sentences + int(np.searchsorted(self.ends, last, "right")) + 1 - first

    def sentences(self, first: int, n_words: int) -> Iterator[np.ndarray]:
        """From `first` on, the last cut so that all have exactly n_words."""
        i = first
        while n_words:
            sentence = self.ids[self.start(i) : self.ends[i]][:n_words]
            yield sentence
            n_words -= len(sentence)
            i = (i + 1) % self.n_sentences
