"""Associative retrieval (Bulatov et al. 2022, appendix A.2; Ba et al. 2016, "Using fast weights to
attend to the recent past").

A sample is K pairs of a letter, the key, and a digit, its value; then one of the keys, the start
token, and the answer, its value: 2K + 3 tokens. A digit is its own id, then come the start token
and the letters. With pairs 3, and the target that counts marked ^:

    input   k 3 a 8 z 5 a >
    target  3 a 8 z 5 a > 8
    loss    . . . . . . . ^
"""

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from rmt.data.tasks.curriculum import fewer_pairs, pair_lessons
from rmt.data.tasks.task import Kind, SampleOptions, Task, TaskDataset
from rmt.options.option import check_at_least, option
from rmt.runtime.errors import UsageError

NAME = "retrieval"
DIGITS, LETTERS, START = string.digits, string.ascii_lowercase, ">"
SYMBOLS = (*DIGITS, START, *LETTERS)
_START_ID, _FIRST_LETTER = len(DIGITS), len(DIGITS) + 1
_N_QUESTION = 3  # tokens after the pairs, with the answer


def n_possible(n_pairs: int) -> int:
    """How many different samples there are."""
    n_values = math.perm(10, n_pairs) if n_pairs <= 10 else 10**n_pairs
    return math.perm(26, n_pairs) * n_values * n_pairs


def draw(random: np.random.Generator, n_samples: int, n_pairs: int) -> np.ndarray:
    """Samples: uint8 [N, 2K + 3].

    Keys differ, and so do values as long as there are digits enough.
    """
    keys = _FIRST_LETTER + _draw_distinct(random, len(LETTERS), n_samples, n_pairs)
    if n_pairs <= len(DIGITS):
        values = _draw_distinct(random, len(DIGITS), n_samples, n_pairs)
    else:
        values = random.integers(len(DIGITS), size=(n_samples, n_pairs), dtype=np.uint8)
    pairs = np.stack([keys, values], axis=2)
    wanted = pairs[np.arange(n_samples), random.integers(n_pairs, size=n_samples)]
    pairs = pairs.reshape(n_samples, 2 * n_pairs)
    return np.insert(np.concatenate([pairs, wanted], axis=1), -1, _START_ID, axis=1)


def _draw_distinct(random: np.random.Generator, n_symbols: int, n_samples: int, n: int):
    """The first n of n_symbols in random order: uint8 [N, n]."""
    symbols = np.tile(np.arange(n_symbols, dtype=np.uint8), (n_samples, 1))
    return random.permuted(symbols, axis=1)[:, :n]


def shortened(samples: np.ndarray, n_pairs: int) -> np.ndarray:
    """The samples with so many of their pairs, the wanted one among them, in their order."""
    pairs = samples[:, :-_N_QUESTION].reshape(len(samples), -1, 2)
    is_wanted = pairs[:, :, 0] == samples[:, -_N_QUESTION, None]
    kept = fewer_pairs(pairs, is_wanted, n_pairs)
    return np.concatenate([kept.reshape(len(samples), -1), samples[:, -_N_QUESTION:]], axis=1)


@dataclass(frozen=True)
class RetrievalOptions(SampleOptions):
    """The samples of retrieval."""

    pairs: int = option(4, "pairs of a key and a value; of retrieval at most 26")

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "pairs")
        if self.pairs > len(LETTERS):
            raise UsageError(f"pairs must be at most 26, the letters for keys, not {self.pairs}")


def make(n_pairs: int) -> Task:
    """The task with so many pairs."""
    kind = Kind(
        f"samples of retrieval with pairs {n_pairs}",
        n_possible(n_pairs),
        partial(draw, n_pairs=n_pairs),
    )
    length = 2 * n_pairs + _N_QUESTION
    return Task(
        NAME,
        symbols=SYMBOLS,
        length=length,
        answer_size=1,
        final_size=1,
        kinds=(kind,),
        assemble=np.asarray,
        n=n_pairs,
        resized=make,
        shorten=shortened,
        lessons=partial(pair_lessons, n_pairs, length - 1),
    )


def _make(options: RetrievalOptions) -> Task:
    return make(options.pairs)


def _label(options: Mapping) -> str:
    return f"{NAME}, {options['pairs']} pairs"


RETRIEVAL = TaskDataset(
    NAME,
    make=_make,
    options=RetrievalOptions,
    label=_label,
    size=itemgetter("pairs"),
    # With the paper's LayerNorm after each part RMT goes on guessing among the sample's values.
    fast={
        "pre_lnorm": True,
        "mem_init": "shared",
        "lr": 0.002,
        "batch_size": 256,
        "max_step": 8000,
        "eval_interval": 250,
    },
    chance=1 / len(DIGITS),
    has_lessons=True,
)
