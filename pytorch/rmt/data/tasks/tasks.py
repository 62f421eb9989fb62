"""The algorithmic tasks of Bulatov et al. 2022 (sections 4.1 and A.1-A.3) as sequences of ids.

A sample is one row of ids. Its tokens but the last are the model's input, its tokens but the first
are the targets, and loss and accuracy count the last answer_size targets alone, marked ^ here. The
token > tells the model to answer. python -m rmt.data.tasks show reverse --n 6 prints such samples.

copy: n symbols of eight, to be said twice (n 3):

    input   3 5 1 > 3 5 1 3 5
    target  5 1 > 3 5 1 3 5 1
    loss    . . . ^ ^ ^ ^ ^ ^

reverse: n symbols of eight, to be said backwards (n 3):

    input   3 5 1 > 1 5
    target  5 1 > 1 5 3
    loss    . . . ^ ^ ^

retrieval: pairs of a letter and a digit, and the letter whose digit is wanted (pairs 3; Ba et al.
2016, "Using fast weights to attend to the recent past"):

    input   k 3 a 8 z 5 a >
    target  3 a 8 z 5 a > 8
    loss    . . . . . . . ^

quadratic: an equation and its solution in six stages of 30 characters, filled up with padding; here
one below the other, with their marks. A sample is solved if the last stage, the answer, is right:

    -4*x^2+392*x-2208=0,__________  ..............................
    x^2-98*x+552=0;_______________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    D=98^2-4*1*552=7396=86^2;_____  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    x=(98-86)/2=6;________________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    x=(98+86)/2=92,_______________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    6,92__________________________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"""

import hashlib
import json
import string
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from rmt.data.store import opened_or_made, write_encoded
from rmt.data.tasks import quadratic, retrieval
from rmt.data.text.corpora import SPLITS, default_encoded_dir
from rmt.data.vocabulary import Vocabulary
from rmt.options.command_line import Parser, pick
from rmt.options.config import TASKS, TaskConfig
from rmt.runtime.errors import UsageError

FORMAT = 1  # goes up when the same options give other samples
MAX_TOKENS = 1 << 34  # in all samples of a task, which are drawn in memory
BLOCK_SAMPLES = 10_000  # assembled and written at a time

PADDING, START, DIGITS = "_", ">", string.digits
# Copy and reverse: digits are the ids 2 .. 9, as in quadratic, where they are 2 .. 11.
N_DIGITS, FIRST_DIGIT, START_ID, PADDING_ID = 8, 2, 1, 0

Content = np.ndarray  # [N, numbers]: what samples differ in; an assemble() makes samples of it


@dataclass(frozen=True)
class Kind:
    """One sort of samples: its share of all, how they are drawn, and how many there can be."""

    name: str
    n_possible: int
    draw: Callable[[np.random.Generator, int], Content]
    share: float = 1.0


@dataclass(frozen=True)
class Task:
    """The samples of one task, as rows of ids.

    symbols: what each id stands for; the model's n_token is their number.
    length: tokens of a sample; the input is one shorter.
    answer_size: how many of a sample's last tokens count in loss and accuracy.
    final_size: how many of those must all be right for the sample to be solved.
    n: symbols to remember, or pairs; 0 where samples can't be made shorter (quadratic).
    kinds, assemble: how samples are drawn, and how rows of ids are made of what was drawn.
    shorten: what n symbols or pairs of samples were drawn as.
    """

    name: str
    symbols: tuple[str, ...]
    length: int
    answer_size: int
    final_size: int
    kinds: tuple[Kind, ...] = field(repr=False, compare=False)
    assemble: Callable[[Content], np.ndarray] = field(repr=False, compare=False)
    n: int = 0
    shorten: Callable[[np.ndarray, int], Content] | None = field(
        default=None, repr=False, compare=False
    )

    def generate(self, random: np.random.Generator, n_samples: int) -> np.ndarray:
        """Independent samples: uint8 [n_samples, length]. UsageError above MAX_TOKENS."""
        return self.assemble(_draw(self, random, n_samples, unique=False))

    @property
    def scored(self) -> np.ndarray:
        """Which targets count in the loss, the answer: bool [length - 1]."""
        return np.arange(1, self.length) >= self.length - self.answer_size

    def shorter(self, n: int) -> "Task":
        """The task with n symbols or pairs; UsageError unless n is between 1 and its own."""
        if not self.n:
            raise UsageError(f"samples of {self.name} can't be made shorter")
        if not 1 <= n <= self.n:
            raise UsageError(f"samples of n {self.n} can't be shortened to n {n}")
        return _retrieval(n) if self.name == "retrieval" else _memorization(self.name, n)

    def shortened(
        self, samples: np.ndarray, n: int, padded: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples [N, length] as samples of shorter(n), and which of their targets count.

        Copy and reverse keep the first n symbols, retrieval n pairs. Where padded, bool [n], is
        true, symbols are replaced by padding, which does not count. UsageError as in shorter().
        """
        short = self.shorter(n)
        content, scored = self.shorten(np.asarray(samples), n), short.scored
        if padded is not None and padded.any():
            content = np.where(padded, np.uint8(PADDING_ID), content)
            scored &= short.assemble(content[:1])[0, 1:] != PADDING_ID
        return short.assemble(content), scored

    def readable(self, sample: Iterable[int]) -> str:
        """One line of text for ids of a sample, with one space for any padding between others."""
        text = "".join(self.symbols[i] for i in sample)
        return " ".join(text.replace(PADDING, " ").split())


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task's samples, the same for every model.

    fingerprint: hexadecimal hash of everything that the samples depend on.
    splits: train, valid and test, each a read-only memory map, uint8 [samples, length]. No sample
        occurs twice, neither in a split nor in two of them.
    """

    task: Task
    fingerprint: str
    splits: dict[str, np.ndarray]


def headline(name: str) -> str:
    """Which rate the paper reports of the task, in the names of task_metrics.RATES."""
    return "solve_rate" if name == "quadratic" else "accuracy"


# --- the tasks -----------------------------------------------------------------------------------


def make_task(name: str, config: TaskConfig) -> Task:
    """The task that is called so; of the config it reads n or pairs. UsageError for no task."""
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    if name == "retrieval":
        return _retrieval(config.pairs)
    return _quadratic() if name == "quadratic" else _memorization(name, config.n)


def _memorization(name: str, n: int) -> Task:
    length, answer_size = (3 * n + 1, 2 * n) if name == "copy" else (2 * n + 1, n)
    n_possible = N_DIGITS ** min(n, 20)  # more than that is more than anyone can ask for
    return Task(
        name,
        symbols=(PADDING, START, *DIGITS[:N_DIGITS]),
        length=length,
        answer_size=answer_size,
        final_size=answer_size,
        kinds=(Kind(f"samples of {name} with n {n}", n_possible, partial(_draw_digits, n=n)),),
        assemble=_assemble_copy if name == "copy" else _assemble_reverse,
        n=n,
        shorten=lambda samples, n: samples[:, :n],
    )


def _draw_digits(random: np.random.Generator, n_samples: int, n: int) -> Content:
    return random.integers(FIRST_DIGIT, FIRST_DIGIT + N_DIGITS, (n_samples, n), dtype=np.uint8)


def _assemble_copy(digits: Content) -> np.ndarray:
    return np.insert(np.tile(digits, 3), digits.shape[1], START_ID, axis=1)


def _assemble_reverse(digits: Content) -> np.ndarray:
    there_and_back = np.concatenate([digits, digits[:, ::-1]], axis=1)
    return np.insert(there_and_back, digits.shape[1], START_ID, axis=1)


def _retrieval(n_pairs: int) -> Task:
    name, n_possible = f"samples of retrieval with pairs {n_pairs}", retrieval.n_possible(n_pairs)
    return Task(
        "retrieval",
        symbols=retrieval.SYMBOLS,
        length=2 * n_pairs + 3,
        answer_size=1,
        final_size=1,
        kinds=(Kind(name, n_possible, partial(retrieval.draw, n_pairs=n_pairs)),),
        assemble=np.asarray,
        n=n_pairs,
        shorten=retrieval.shortened,
    )


def _quadratic() -> Task:
    share = quadratic.UNREAL_SHARE
    real = Kind("equations with real roots", quadratic.N_REAL, quadratic.draw_real, 1 - share)
    unreal = Kind("equations without real roots", quadratic.N_UNREAL, quadratic.draw_unreal, share)
    return Task(
        "quadratic",
        symbols=quadratic.SYMBOLS,
        length=quadratic.N_STAGES * quadratic.STAGE_SIZE,
        answer_size=(quadratic.N_STAGES - 1) * quadratic.STAGE_SIZE,
        final_size=quadratic.STAGE_SIZE,
        kinds=(real, unreal),
        assemble=quadratic.assemble,
    )


# --- drawing -------------------------------------------------------------------------------------


def _draw(task: Task, random: np.random.Generator, n_samples: int, *, unique: bool) -> Content:
    """Samples whose kind is left to chance, by their shares."""
    if n_samples * task.length > MAX_TOKENS:
        raise UsageError(
            f"{n_samples:,} samples of {task.length:,} tokens are too much: choose fewer or shorter"
        )
    counts = random.multinomial(n_samples, [kind.share for kind in task.kinds]).tolist()
    drawn = [
        _draw_unique(kind, random, n) if unique else kind.draw(random, n)
        for kind, n in zip(task.kinds, counts, strict=True)
    ]
    # One kind comes after the other, and among unique samples the rare ones come late: mix them,
    # so that no split differs from another.
    return random.permutation(np.concatenate(drawn))


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


# --- stored samples ------------------------------------------------------------------------------


def load_task(
    name: str, config: TaskConfig, encoded_dir: str | Path | None = None, progress: bool = True
) -> TaskData:
    """The task's samples, made now if they never were; the same configuration, the same bytes.

    encoded_dir: where they lie; the default is that of load_corpus.
    progress: say so on stderr where they have to be made.

    Raises UsageError for no task, more samples than there can be, and a place that can't be used.
    """
    task = make_task(name, config)
    sizes, seed = _sizes(name, config), config.data_seed
    facts = {"task": name, "length": task.length, "samples": sizes, "seed": seed}
    everything = json.dumps([FORMAT, task.symbols, facts], sort_keys=True)
    fingerprint = hashlib.sha256(everything.encode()).hexdigest()
    folder = Path(encoded_dir or default_encoded_dir()) / f"{name}-{fingerprint[:16]}"
    _, arrays = opened_or_made(
        folder, fingerprint, lambda: _make_samples(task, facts, folder, fingerprint, progress)
    )
    splits = {split: array.reshape(-1, task.length) for split, array in arrays.items()}
    return TaskData(task, fingerprint, splits)


def _sizes(name: str, config: TaskConfig) -> dict[str, int]:
    """Samples of each split."""
    paper = (10_000, 20_000) if name == "quadratic" else (5_000, 10_000)
    n_valid, n_test = config.valid_samples or paper[0], config.test_samples or paper[1]
    return dict(zip(SPLITS, (config.train_samples, n_valid, n_test), strict=True))


def _make_samples(task: Task, facts: dict, folder: Path, fingerprint: str, progress: bool) -> None:
    sizes = facts["samples"]
    n_samples = sum(sizes.values())
    contents = _draw(task, np.random.default_rng(facts["seed"]), n_samples, unique=True)
    if progress:
        print(f"encoding {task.name} ({n_samples:,} samples) into {folder}", file=sys.stderr)
    parts = np.split(contents, np.cumsum(list(sizes.values()))[:-1])
    blocks = {split: _blocks(task, part) for split, part in zip(sizes, parts, strict=True)}
    write_encoded(folder, fingerprint, facts, Vocabulary(task.symbols), blocks)


def _blocks(task: Task, contents: Content) -> Iterator[np.ndarray]:
    for start in range(0, len(contents), BLOCK_SAMPLES):
        yield task.assemble(contents[start : start + BLOCK_SAMPLES]).ravel()


# --- the program ---------------------------------------------------------------------------------


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.data.tasks", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["show"], help="show: print a few samples")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--samples", type=int, default=4, help="how many (default: 4)")
    parser.add_options(TaskConfig, only=("n", "pairs", "data_seed"))
    options = parser.parse(argv)
    if options["samples"] < 1:
        raise UsageError(f"samples must be 1 or more, but it is {options['samples']}")
    config = TaskConfig.of(options["task"], pick(TaskConfig, options))
    task = make_task(options["task"], config)
    samples = task.generate(np.random.default_rng(config.data_seed), options["samples"])
    show = task.readable if task.name == "quadratic" else partial(_aligned, task)
    print("\n".join(map(show, samples)))


def _aligned(task: Task, sample: np.ndarray) -> str:
    """Input, target and marks of the targets that count, one below the other, and a blank line."""
    symbols = [task.symbols[i] for i in sample]
    marks = ["."] * (task.length - 1 - task.answer_size) + ["^"] * task.answer_size
    rows = {"input": symbols[:-1], "target": symbols[1:], "loss": marks}
    return "".join(f"{name:8}{' '.join(row)}\n" for name, row in rows.items())
