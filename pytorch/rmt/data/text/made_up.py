"""Made-up text whose words are about as frequent as those of real text, to measure on."""

import numpy as np


def word_frequencies(n_token: int) -> np.ndarray:
    """How frequent words are in text, about: float64 [n_token], the sum is 1.

    Proportional to 1 / (rank + 2.7)^1.2, so that of 267,735 words the 20,000 most frequent are
    nine tenths of the text.
    """
    frequency = (np.arange(n_token) + 3.7) ** -1.2
    return frequency / frequency.sum()


def zipf_ids(random: np.random.Generator, n_token: int, n_ids: int) -> np.ndarray:
    """Ids as frequent as words are, about: int32 [n_ids]."""
    return random.choice(n_token, n_ids, p=word_frequencies(n_token)).astype(np.int32)
