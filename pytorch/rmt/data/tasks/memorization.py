"""Copy and reverse (Bulatov et al. 2022, sections 4.1 and A.1).

Targets that count are marked ^; the token > tells the model to answer.

copy: n symbols of eight, to be said twice (n 3):

    input   3 5 1 > 3 5 1 3 5
    target  5 1 > 3 5 1 3 5 1
    loss    . . . ^ ^ ^ ^ ^ ^

reverse: n symbols of eight, to be said backwards (n 3):

    input   3 5 1 > 1 5
    target  5 1 > 1 5 3
    loss    . . . ^ ^ ^
"""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from rmt.data.tasks.curriculum import symbol_lessons
from rmt.data.tasks.task import Content, Kind, SampleOptions, Task, TaskDataset
from rmt.options.option import check_at_least, option

PADDING, START, DIGITS = "_", ">", string.digits
# Digits are the ids 2 .. 9, as in quadratic, where they are 2 .. 11.
N_DIGITS, FIRST_DIGIT, START_ID, PADDING_ID = 8, 2, 1, 0


@dataclass(frozen=True)
class MemorizationOptions(SampleOptions):
    """The samples of copy and reverse."""

    n: int = option(24, "copy, reverse: symbols to remember")

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "n")


def _task(name: str, n: int, times_said: int, assemble: Callable[[Content], np.ndarray]) -> Task:
    answer_size = times_said * n
    n_possible = N_DIGITS ** min(n, 20)  # more than that is more than anyone can ask for
    return Task(
        name,
        symbols=(PADDING, START, *DIGITS[:N_DIGITS]),
        length=n + 1 + answer_size,
        answer_size=answer_size,
        final_size=answer_size,
        kinds=(Kind(f"samples of {name} with n {n}", n_possible, partial(_draw_digits, n=n)),),
        assemble=assemble,
        padding=PADDING_ID,
        n=n,
        resized=lambda n: _task(name, n, times_said, assemble),
        shorten=lambda samples, n: samples[:, :n],
        lessons=partial(symbol_lessons, n),
    )


def _draw_digits(random: np.random.Generator, n_samples: int, n: int) -> Content:
    return random.integers(FIRST_DIGIT, FIRST_DIGIT + N_DIGITS, (n_samples, n), dtype=np.uint8)


def _assemble_copy(digits: Content) -> np.ndarray:
    return np.insert(np.tile(digits, 3), digits.shape[1], START_ID, axis=1)


def _assemble_reverse(digits: Content) -> np.ndarray:
    there_and_back = np.concatenate([digits, digits[:, ::-1]], axis=1)
    return np.insert(there_and_back, digits.shape[1], START_ID, axis=1)


def _make(
    name: str,
    times_said: int,
    assemble: Callable[[Content], np.ndarray],
    options: MemorizationOptions,
) -> Task:
    return _task(name, options.n, times_said, assemble)


def _label(name: str, options: Mapping) -> str:
    return f"{name}, n {options['n']}"


def _dataset(
    name: str,
    times_said: int,
    assemble: Callable[[Content], np.ndarray],
    fast: dict[str, object],
) -> TaskDataset:
    return TaskDataset(
        name,
        make=partial(_make, name, times_said, assemble),
        options=MemorizationOptions,
        label=partial(_label, name),
        size=itemgetter("n"),
        fast=fast,
        chance=1 / N_DIGITS,
        has_lessons=True,
    )


# Where all of 40 memory tokens begin alike, reading any of them at first tells something.
COPY = _dataset("copy", 2, _assemble_copy, {"mem_init": "shared"})
# Smaller weights learn reverse of 24 in fewer steps, but neither copy of 24 nor, as in the
# quickstart, reverse of 8.
REVERSE = _dataset("reverse", 1, _assemble_reverse, {"init": "uniform"})
