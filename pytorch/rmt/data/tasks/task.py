"""What an algorithmic task is: one object that says how its samples are drawn, read and scored.

A sample is one row of ids. Its tokens but the last are the model's input, its tokens but the first
are the targets, and loss and accuracy count the last answer_size targets alone. A task is a file
beside this one and a line in rmt.data.registry; python -m rmt.data.tasks show reverse --n 6 prints
samples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

import numpy as np

from rmt.data.metrics import ACCURACY, Metric
from rmt.data.options import DatasetOptions
from rmt.data.tasks.curriculum import Lesson
from rmt.options.option import check_at_least, option
from rmt.runtime.errors import UsageError

MAX_TOKENS = 1 << 34  # in all samples of a task, which are drawn in memory

Content = np.ndarray  # [N, numbers]: what samples differ in; an assemble() makes samples of it


@dataclass(frozen=True)
class SampleOptions(DatasetOptions):
    """How many samples; a task's own options are those of a dataclass that inherits from this."""

    train_samples: int = option(100_000, "samples to train on")
    valid_samples: int = option(0, "samples to validate on; 0: the task's own number")
    test_samples: int = option(0, "samples to test on; 0: the task's own number")
    data_seed: int = option(0, "random seed of the samples, which all runs share")

    def __post_init__(self):
        check_at_least(self, 1, "train_samples")
        check_at_least(self, 0, "valid_samples", "test_samples", "data_seed")


# All of these; what a task adds is its own.
SampleOptions.SHARED = tuple(spec.name for spec in fields(SampleOptions))


@dataclass(frozen=True)
class Kind:
    """One sort of samples: its share of all, how they are drawn, and how many there can be."""

    name: str
    n_possible: int
    draw: Callable[[np.random.Generator, int], Content]
    share: float = 1.0


@dataclass(frozen=True)
class Task:
    """A task at one size, as rows of ids.

    symbols: what each id stands for; the model's n_token is their number.
    length: tokens of a sample; the input is one shorter.
    answer_size: how many of a sample's last tokens count in loss and accuracy.
    final_size: how many of those must all be right for the sample to be solved.
    kinds, assemble: how samples are drawn, and how rows of ids are made of what was drawn.
    facts: what samples depend on beside the name, the symbols and the length.
    n_labels: how many of the last symbols are labels, of which an answer is one; 0 for others.
    padding: the id that fills samples up, which readable leaves out; None without any.

    Of samples that can be made shorter, for a curriculum (without it n is 0):
    n: symbols to remember, or pairs, the largest root, or the tokens of a sample.
    resized: the task with another n. shorten: what samples of such an n would have been drawn as.
    bare: the task with padding in place of a text that is around what counts.
    lessons: from the n of the first lesson (-1: what is usual) and tgt_len to all of them.
    learned_at: the loss, in nats per token, below which a lesson is learned.

    pieces: from the number of a sample to its ids, piece by piece, of samples that are made when
    they are read and may be too long to be held; assemble makes whole rows, and there are no kinds.
    """

    name: str
    symbols: tuple[str, ...]
    length: int
    answer_size: int
    final_size: int
    kinds: tuple[Kind, ...] = field(repr=False, compare=False)
    assemble: Callable[[Content], np.ndarray] = field(repr=False, compare=False)
    facts: Mapping[str, object] = field(default_factory=dict)
    n_labels: int = 0
    padding: int | None = None
    n: int = 0
    resized: "Callable[[int], Task] | None" = field(default=None, repr=False, compare=False)
    shorten: Callable[[np.ndarray, int], Content] | None = field(
        default=None, repr=False, compare=False
    )
    bare: "Callable[[], Task] | None" = field(default=None, repr=False, compare=False)
    lessons: Callable[[int, int], tuple[Lesson, ...]] | None = field(
        default=None, repr=False, compare=False
    )
    learned_at: float = 0.5
    pieces: Callable[[np.ndarray], Iterator[np.ndarray]] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def numbered(self) -> bool:
        """Whether a split holds the numbers of its samples, [N, 2], instead of their ids."""
        return self.pieces is not None

    def rows(self, samples: np.ndarray) -> np.ndarray:
        """Samples as a split has them, [N, ...], as ids: [N, length]."""
        return self.assemble(np.asarray(samples)) if self.numbered else samples

    def generate(self, random: np.random.Generator, n_samples: int) -> np.ndarray:
        """Independent samples: uint8 [n_samples, length]. UsageError above MAX_TOKENS."""
        if self.numbered:
            return self.assemble(numbers(0, n_samples))
        return self.assemble(self.draw(random, n_samples, unique=False))

    @property
    def scored(self) -> np.ndarray:
        """Which targets count in the loss, the answer: bool [length - 1]."""
        return np.arange(1, self.length) >= self.length - self.answer_size

    def shorter(self, n: int) -> "Task":
        """The task with a smaller n; UsageError unless it is between 1 and its own."""
        if not self.n:
            raise UsageError(f"samples of {self.name} can't be made shorter")
        if not 1 <= n <= self.n:
            raise UsageError(f"samples of n {self.n} can't be shortened to n {n}")
        return self.resized(n)

    def shortened(
        self, samples: np.ndarray, n: int, padded: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples [N, length] as samples of shorter(n), and which of their targets count.

        Copy and reverse keep the first n symbols, retrieval n pairs; of equations the roots become
        smaller. Where padded, bool [n], is true, symbols are replaced by padding, which does not
        count. UsageError as in shorter().
        """
        short = self.shorter(n)
        content, scored = self.shorten(np.asarray(samples), n), short.scored
        if padded is not None and padded.any():
            content = np.where(padded, np.uint8(self.padding), content)
            scored &= short.assemble(content[:1])[0, 1:] != self.padding
        return short.assemble(content), scored

    def readable(self, sample: Iterable[int]) -> str:
        """One line of text for ids of a sample, with one space for any padding between others."""
        symbols = (" " if i == self.padding else self.symbols[i] for i in sample)
        return " ".join("".join(symbols).split())

    # Drawing

    def draw(self, random: np.random.Generator, n_samples: int, *, unique: bool) -> Content:
        """Samples whose kind is left to chance, by their shares; UsageError above MAX_TOKENS."""
        if n_samples * self.length > MAX_TOKENS:
            raise UsageError(
                f"{n_samples:,} samples of {self.length:,} tokens are too much: choose fewer or "
                "shorter"
            )
        counts = random.multinomial(n_samples, [kind.share for kind in self.kinds]).tolist()
        drawn = [
            _draw_unique(kind, random, n) if unique else kind.draw(random, n)
            for kind, n in zip(self.kinds, counts, strict=True)
        ]
        # One kind comes after the other, and among unique samples the rare ones come late: mix
        # them, so that no split differs from another.
        return random.permutation(np.concatenate(drawn))


def whole_rows(
    pieces: Callable[[np.ndarray], Iterator[np.ndarray]], length: int, numbers: np.ndarray
) -> np.ndarray:
    """Samples that are made in pieces, as rows of ids: [N, length].

    numbers: of each its split and index, [N, 2].
    """
    rows = [np.concatenate(list(pieces(number))) for number in numbers]
    return np.stack(rows) if rows else np.zeros((0, length), np.uint16)


def numbers(split: int, n_samples: int) -> np.ndarray:
    """The numbers of a split's first samples: its own and theirs, [N, 2]."""
    return np.stack([np.full(n_samples, split), np.arange(n_samples)], axis=1)


def _draw_unique(kind: Kind, random: np.random.Generator, n: int) -> Content:
    """No two alike; UsageError if there are not so many."""
    if n > kind.n_possible:
        raise UsageError(
            f"there are only {kind.n_possible:,} different {kind.name}, but {n:,} are needed: "
            "ask for fewer with train_samples, valid_samples and test_samples"
        )
    found = _without_duplicates(kind.draw(random, n))
    while len(found) < n:
        # So many that all that are missing can be expected among them.
        n_more = (n - len(found)) * kind.n_possible // (kind.n_possible - len(found)) + 1
        found = _without_duplicates(np.concatenate([found, kind.draw(random, n_more)]))
    return found[:n]


def _without_duplicates(rows: Content) -> Content:
    """The first of all equal rows, in their order."""
    as_bytes = np.dtype((np.void, rows.itemsize * rows.shape[1]))
    _, first = np.unique(np.ascontiguousarray(rows).view(as_bytes), return_index=True)
    return rows[np.sort(first)]


def _no_size(options: Mapping) -> int:
    return 0


@dataclass(frozen=True)
class TaskDataset:
    """A task by its name. Its functions are named ones, so that it can be sent to a process.

    options: its options dataclass. make: the task at the size that they say.
    held_out: samples to validate and to test on, as in the paper.
    headline: the rate that the paper reports, in the names of rmt.evaluation.tasks.RATES.
    label: the task with its size, for people, and size, that number, of its recorded options.
    fast: what --recipe fast sets beside what it sets for every task (rmt.options.recipes).
    chance: the accuracy of guessing; None where that means nothing.
    has_lessons: whether samples can be made shorter, for a curriculum.
    segment_len: tokens of a segment, where samples are made of such; None where any will do.
    input_len: the option that says how many tokens of a sample are input; empty where only the
        task itself can tell.
    """

    is_task: ClassVar[bool] = True
    metric: ClassVar[Metric] = ACCURACY

    name: str
    make: Callable[[SampleOptions], Task]
    options: type[SampleOptions] = SampleOptions
    held_out: tuple[int, int] = (5_000, 10_000)
    headline: str = "accuracy"
    label: Callable[[Mapping], str] | None = None
    size: Callable[[Mapping], int] = _no_size
    fast: Mapping[str, object] = field(default_factory=dict)
    chance: float | None = None
    has_lessons: bool = False
    segment_len: Callable[[SampleOptions], int] | None = None
    input_len: str = ""

    def sizes(self, options: SampleOptions) -> dict[str, int]:
        """Samples of each split."""
        valid, test = self.held_out
        return {
            "train": options.train_samples,
            "valid": options.valid_samples or valid,
            "test": options.test_samples or test,
        }

    def n_inputs(self, options: SampleOptions) -> int:
        """Tokens of a sample's input."""
        return getattr(options, self.input_len) if self.input_len else self.make(options).length - 1

    def described(self, options: Mapping) -> str:
        """The task with its size, for people: "copy, n 24"."""
        return self.label(options) if self.label else self.name


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task's samples, the same for every model.

    fingerprint: hexadecimal hash of everything that the samples depend on.
    splits: train, valid and test, each a read-only memory map, uint8 [samples, length]. No sample
        occurs twice, neither in a split nor in two of them. Of a numbered task they are numbers.
    """

    task: Task
    fingerprint: str
    splits: dict[str, np.ndarray]
