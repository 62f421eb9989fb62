"""A task in one file: is the number of ones odd? (tests/data/test_registry.py adds it)"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from rmt.data.tasks.task import Kind, SampleOptions, Task, TaskDataset
from rmt.options.option import check_at_least, option

START = 2


@dataclass(frozen=True)
class ParityOptions(SampleOptions):
    """The samples of parity."""

    bits: int = option(8, "parity: bits of a sample")

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "bits")


def draw(random: np.random.Generator, n_samples: int, bits: int) -> np.ndarray:
    return random.integers(2, size=(n_samples, bits), dtype=np.uint8)


def assemble(drawn: np.ndarray) -> np.ndarray:
    """The bits, the start token, and whether their number is odd: uint8 [N, bits + 2]."""
    answer = drawn.sum(axis=1, keepdims=True, dtype=np.uint8) % 2
    return np.concatenate([drawn, np.full_like(answer, START), answer], axis=1)


def make(options: ParityOptions) -> Task:
    return Task(
        "parity",
        symbols=("0", "1", ">"),
        length=options.bits + 2,
        answer_size=1,
        final_size=1,
        kinds=(Kind("samples of parity", 2**options.bits, partial(draw, bits=options.bits)),),
        assemble=assemble,
    )


def label(options: Mapping) -> str:
    return f"parity of {options['bits']} bits"


PARITY = TaskDataset(
    "parity", make, ParityOptions, label=label, size=itemgetter("bits"), chance=1 / 2
)
