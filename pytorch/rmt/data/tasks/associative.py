"""Associative retrieval, a pair a segment (Rodkin et al. 2024, "Associative Recurrent Memory
Transformer").

remember: P pairs of a key and a value, and then one of the keys, whose value is the answer. All
keys differ. rewrite: keys may come again, and the answer is the value that the key had last. Keys
and values are key_len and value_len digits of 16. Every pair is a segment, and so is the
question. With pairs 2, key_len 2 and value_len 1, the targets that count marked ^:

    input   c 4 : 7 . | 0 9 : e . | c 4 > 7
    target  4 : 7 . 0 | 9 : e . c | 4 > 7 .
    loss    . . . . . | . . . . . | . . ^ ^

A sample is solved if value and full stop are right. The published code has the same tokens in a
vocabulary of 128, of which it uses these 19.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import numpy as np

from rmt.data.tasks.curriculum import fewer_pairs, growing_lessons
from rmt.data.tasks.task import Kind, SampleOptions, Task, TaskDataset
from rmt.options.option import check_at_least, option
from rmt.runtime.errors import UsageError

N_DIGITS = 16
SYMBOLS = (*"0123456789abcdef", ":", ">", ".")
SEPARATOR_ID, START_ID, END_ID = range(N_DIGITS, len(SYMBOLS))
# Pairs of the lessons, as published; there the last of them were repeated with longer keys.
GROWTH = (1, 2, 3, 5, 10, 20, 40, 50, 100, 200)
# Nats of a whole answer: less than it takes to guess which of two pairs is asked for, ln 2.
LEARNED_AT = 0.6
MOST_DIGITS = 8  # of a key or a value: more than anyone can ask for


@dataclass(frozen=True)
class PairOptions(SampleOptions):
    """The samples of remember."""

    pairs: int = option(20, "remember, rewrite: pairs of a key and a value, each in a segment")
    key_len: int = option(2, "digits of a key; 16 to the power of it are the keys there are")
    value_len: int = option(1, "digits of a value")

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "pairs", "key_len", "value_len")
        for name in ("key_len", "value_len"):
            if getattr(self, name) > MOST_DIGITS:
                raise UsageError(
                    f"{name} must be at most {MOST_DIGITS}, but it is {getattr(self, name)}"
                )

    @property
    def segment_len(self) -> int:
        """Tokens of a pair, and of the question with its answer."""
        return self.key_len + self.value_len + 2


@dataclass(frozen=True)
class RememberOptions(PairOptions):
    """The samples of remember, where no key comes twice."""

    def __post_init__(self):
        super().__post_init__()
        if self.pairs > N_DIGITS**self.key_len:
            raise UsageError(
                f"there are only {N_DIGITS**self.key_len} different keys of key_len "
                f"{self.key_len}, but pairs is {self.pairs}: choose a larger key_len"
            )


@dataclass(frozen=True)
class RewriteOptions(PairOptions):
    """The samples of rewrite, with few keys, which come again."""

    key_len: int = option(1, "digits of a key; 16 to the power of it are the keys there are")


# --- samples -------------------------------------------------------------------------------------


def draw_remember(random: np.random.Generator, n_samples: int, options: PairOptions) -> np.ndarray:
    """Samples with distinct keys, and any of them asked for: uint8 [N, (P + 1) * segment_len]."""
    n_keys = N_DIGITS**options.key_len
    keys = np.zeros((n_samples, options.pairs), dtype=np.int64)
    for i in range(n_samples):
        keys[i] = random.choice(n_keys, options.pairs, replace=False)
    values = random.integers(N_DIGITS**options.value_len, size=keys.shape)
    wanted = random.integers(options.pairs, size=n_samples)
    return _assemble(keys, values, wanted, options)


def draw_rewrite(random: np.random.Generator, n_samples: int, options: PairOptions) -> np.ndarray:
    """Samples with any keys, and any of those that occur asked for: as of draw_remember."""
    size = (n_samples, options.pairs)
    keys = random.integers(N_DIGITS**options.key_len, size=size)
    values = random.integers(N_DIGITS**options.value_len, size=size)
    # Where a key comes last: one place for every key of the sample.
    later = np.triu(np.ones((options.pairs, options.pairs), dtype=bool), 1)
    is_last = ~((keys[:, :, None] == keys[:, None, :]) & later).any(axis=2)
    wanted = np.where(is_last, random.random(size), -1).argmax(axis=1)
    return _assemble(keys, values, wanted, options)


def _assemble(
    keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, options: PairOptions
) -> np.ndarray:
    """Samples of keys and values, numbers [N, P], and the place of the pair asked for, [N]."""
    rows = np.arange(len(keys))
    keys = np.concatenate([keys, keys[rows, wanted][:, None]], axis=1)
    values = np.concatenate([values, values[rows, wanted][:, None]], axis=1)
    segments = np.full((*keys.shape, options.segment_len), END_ID, dtype=np.uint8)
    segments[:, :, : options.key_len] = _digits(keys, options.key_len)
    segments[:, :, options.key_len] = SEPARATOR_ID
    segments[:, -1, options.key_len] = START_ID
    segments[:, :, options.key_len + 1 : -1] = _digits(values, options.value_len)
    return segments.reshape(len(keys), -1)


def _digits(numbers: np.ndarray, n: int) -> np.ndarray:
    """The n digits of numbers, the highest first: [..., n]."""
    return numbers[..., None] // N_DIGITS ** np.arange(n)[::-1] % N_DIGITS


def shortened(samples: np.ndarray, n_pairs: int, options: PairOptions) -> np.ndarray:
    """The samples with so many of their pairs, the one that answers among them, in their order."""
    segments = samples.reshape(len(samples), -1, options.segment_len)
    pairs, question = segments[:, :-1], segments[:, -1:]
    has_key = (pairs[:, :, : options.key_len] == question[:, :, : options.key_len]).all(axis=2)
    last = has_key.shape[1] - 1 - has_key[:, ::-1].argmax(axis=1)  # with the key: it answers
    kept = fewer_pairs(pairs, np.arange(has_key.shape[1]) == last[:, None], n_pairs)
    return np.concatenate([kept, question], axis=1).reshape(len(samples), -1)


def n_remember(options: PairOptions) -> int:
    """How many different samples of remember there are."""
    n_keys, n_values = N_DIGITS**options.key_len, N_DIGITS**options.value_len
    return math.perm(n_keys, options.pairs) * n_values**options.pairs * options.pairs


def n_rewrite(options: PairOptions) -> int:
    """How many different samples of rewrite there are: a key can be asked for if it occurs."""
    n_keys, n_values = N_DIGITS**options.key_len, N_DIGITS**options.value_len
    n_asked = n_keys * (n_keys**options.pairs - (n_keys - 1) ** options.pairs)
    return n_asked * n_values**options.pairs


# --- the tasks -----------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, int, PairOptions], np.ndarray]


def _make(name: str, draw: Draw, n_possible: Callable, options: PairOptions) -> Task:
    def resized(n_pairs: int) -> Task:
        return _make(name, draw, n_possible, replace(options, pairs=n_pairs))

    kind = Kind(
        f"samples of {name} with pairs {options.pairs}",
        n_possible(options),
        partial(draw, options=options),
    )
    return Task(
        name,
        symbols=SYMBOLS,
        length=(options.pairs + 1) * options.segment_len,
        answer_size=options.value_len + 1,
        final_size=options.value_len + 1,
        kinds=(kind,),
        assemble=np.asarray,
        facts={"key_len": options.key_len, "value_len": options.value_len},
        n=options.pairs,
        resized=resized,
        shorten=partial(shortened, options=options),
        lessons=partial(growing_lessons, options.pairs, GROWTH),
        learned_at=LEARNED_AT / (options.value_len + 1),
    )


def _label(name: str, options: Mapping) -> str:
    return f"{name}, {options['pairs']} pairs"


def _segment_len(options: PairOptions) -> int:
    return options.segment_len


def _dataset(
    name: str, draw: Draw, n_possible: Callable, options: type[PairOptions]
) -> TaskDataset:
    return TaskDataset(
        name,
        make=partial(_make, name, draw, n_possible),
        options=options,
        label=partial(_label, name),
        size=itemgetter("pairs"),
        headline="sequence_accuracy",
        segment_len=_segment_len,
        fast=FAST,
        chance=1 / N_DIGITS,
        has_lessons=True,
    )


# Embeddings and memory tokens must begin small beside what attention adds to them: else all keys
# are nearly the same key, and which pair is asked for is not found in thousands of steps. With
# d_embed they do, for they are projected by weights of --proj_init_std. ARMT learned more slowly
# with the paper's denominator than with the delta rule, and of 100,000 samples some by heart.
FAST = {
    "pre_lnorm": True,
    "n_layer": 2,
    "d_model": 64,
    "d_embed": 32,
    "d_head": 16,
    "d_inner": 128,
    "d_mem": 16,
    "memory_update": "delta",
    "train_samples": 400_000,
    "max_step": 6000,
    "eval_interval": 250,
    "stop_at": 0.98,
    "precision": "fp32",
}

REMEMBER = _dataset("remember", draw_remember, n_remember, RememberOptions)
REWRITE = _dataset("rewrite", draw_rewrite, n_rewrite, RewriteOptions)
