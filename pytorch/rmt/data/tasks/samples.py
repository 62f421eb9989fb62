"""From an array of samples of an algorithmic task to batches, each cut into segments."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from rmt.data.batches import IGNORED, Update, on_device
from rmt.data.tasks.tasks import Task
from rmt.runtime import distributed

# A first lesson of more symbols may never be learned: the more places the attention has to choose
# from, the less each of them weighs, and the less it is told which is right.
MOST_AT_FIRST = 15


def cut(
    samples: np.ndarray, scored: np.ndarray, tgt_len: int, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Samples [B, L] as segments of tgt_len tokens (the last may be shorter) and their targets.

    The targets are one position later; those not in `scored`, bool [L - 1], are IGNORED, and a
    segment in which nothing is left has None.
    """
    tokens = on_device(samples[:, :-1], device)
    targets = on_device(samples[:, 1:], device)
    targets[:, ~torch.from_numpy(scored).to(device)] = IGNORED
    return [
        (tokens[:, part], targets[:, part] if scored[part].any() else None)
        for start in range(0, tokens.shape[1], tgt_len)
        for part in [slice(start, start + tgt_len)]
    ]


@dataclass(frozen=True)
class Lesson:
    """Samples of n symbols, or pairs, in segments of tgt_len.

    Only every stride-th of a segment's places holds a symbol, the others padding. So where the
    attention has to look may first be learned roughly, for a symbol's neighbours are empty, and
    what is learned stays right when more are filled.
    """

    n: int
    tgt_len: int
    stride: int = 1

    @property
    def padded(self) -> np.ndarray:
        """Which of the n places hold padding: bool [n]."""
        return np.arange(self.n) % self.tgt_len % self.stride > 0


def lessons_for(task: Task, n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
    """From samples of n_first symbols, or pairs, to whole ones in segments of tgt_len.

    n_first -1 is one pair, or at most MOST_AT_FIRST symbols of a segment.

    Symbols (copy, reverse): first the segments become more, with at most n_first symbols spread
    over each, then these double until they fill a segment. If n_first is more than a segment,
    samples grow by n_first.

    Pairs (retrieval) grow by n_first while a sample is one segment: to find a value is learned
    before it has to be remembered.
    """
    if task.name == "retrieval":
        n_inputs = task.length - 1
        numbers = _up_to(task.n, 1 if n_first < 0 else n_first)
        in_one_segment = [Lesson(n, n_inputs) for n in numbers]
        in_all = Lesson(task.n, min(tgt_len, n_inputs))
        return tuple(dict.fromkeys([*in_one_segment, in_all]))
    if n_first < 0:
        n_first = min(MOST_AT_FIRST, tgt_len)
    stride = 1
    while min(task.n, tgt_len) > n_first * stride:
        stride *= 2
    lessons = [Lesson(n, tgt_len, stride) for n in _up_to(task.n, max(n_first, tgt_len))]
    while stride > 1:
        stride //= 2
        lessons.append(Lesson(task.n, tgt_len, stride))
    return tuple(lessons)


def _up_to(n: int, step: int) -> tuple[int, ...]:
    return (*range(step, n, step), n)


@dataclass
class Curriculum:
    """What samples are like: one of `lessons` after the other, the next when one is learned.

    Most updates are of the lesson, the others of earlier ones, lest they be forgotten. A lesson is
    learned when its loss, averaged over about 1 / (1 - memory) updates (or all, where they are
    fewer), is below learned_at nats per token. After n_longest updates the last lesson begins in
    any case.
    """

    lessons: tuple[Lesson, ...]
    n_longest: int
    learned_at: float = 0.5
    share_of_lesson: float = 0.8
    memory: float = 0.9
    lesson: int = 0
    n_updates: int = 0  # until the last lesson began
    mean_loss: float | None = None

    def __post_init__(self):
        self._drawn = self.lesson

    def draw(self, random: np.random.Generator) -> Lesson:
        """What the next update's samples are like."""
        self._drawn = self.lesson
        if self.lesson and random.random() > self.share_of_lesson:
            self._drawn = int(random.integers(self.lesson))
        return self.lessons[self._drawn]

    def tell_loss(self, loss: float) -> None:
        """The loss of the update that was drawn last, in nats per token."""
        last = len(self.lessons) - 1
        if self.lesson == last:
            return
        self.n_updates += 1
        if self._drawn == self.lesson and math.isfinite(loss):
            earlier = loss if self.mean_loss is None else self.mean_loss
            self.mean_loss = self.memory * earlier + (1 - self.memory) * loss
        if self.n_updates >= self.n_longest:
            self.lesson, self.mean_loss = last, None
        elif self.mean_loss is not None and self.mean_loss < self.learned_at:
            self.lesson, self.mean_loss = self.lesson + 1, None

    @property
    def place(self) -> dict:
        """Where in the lessons this is; go_to(**place) goes there."""
        return {"lesson": self.lesson, "n_updates": self.n_updates, "mean_loss": self.mean_loss}

    def go_to(self, lesson: int, n_updates: int, mean_loss: float | None) -> None:
        self.lesson, self.n_updates, self.mean_loss = lesson, n_updates, mean_loss


class SampleReader:
    """Reads training samples in random order, epoch after epoch, from a place that can be saved.

    An update is a batch of samples as a whole, each of them one stream from its first segment to
    its last. What does not fill a batch at an epoch's end is left out.
    """

    def __init__(
        self,
        task: Task,
        samples: np.ndarray,
        batch_size: int,
        tgt_len: int,
        seed: int,
        *,
        curriculum: Curriculum | None = None,
        streams: slice = slice(None),
        device: torch.device | str = "cpu",
    ):
        """streams: which of a batch's samples this process reads."""
        self.task, self.samples = task, samples
        self.batch_size, self.tgt_len, self.seed = batch_size, tgt_len, seed
        self.curriculum, self.streams = curriculum, streams
        self.device = torch.device(device)
        self.seek(1, 0)

    @property
    def place(self) -> dict:
        """Where the next batch is; seek(**place) goes there."""
        place = {"epoch": self.epoch, "position": self.position}
        return place | (self.curriculum.place if self.curriculum else {})

    def seek(self, epoch: int, position: int, **lesson) -> None:
        """Go on from a place that another reader of the same samples had reached."""
        self.epoch, self.position = epoch, position
        if lesson:
            self.curriculum.go_to(**lesson)
        random = np.random.default_rng([self.seed, epoch])
        self._order = random.permutation(len(self.samples))

    def next(self, n_segments: int) -> Update:
        """Return the segments of the next batch of samples; n_segments is a text reader's."""
        if (self.position + 1) * self.batch_size > len(self.samples):
            self.seek(self.epoch + 1, 0)
        first = self.position * self.batch_size
        samples = self.samples[self._order[first : first + self.batch_size][self.streams]]
        self.position += 1
        scored, tgt_len = self.task.scored, self.tgt_len
        if self.curriculum:
            random = np.random.default_rng([self.seed, self.epoch, self.position])
            lesson = self.curriculum.draw(random)
            samples, scored = self.task.shortened(samples, lesson.n, lesson.padded)
            tgt_len = lesson.tgt_len
        segments = cut(samples, scored, tgt_len, self.device)
        return Update(segments, len(samples) * int(scored.sum()), True)

    def tell_loss(self, loss: float) -> None:
        """The loss of the update just made, for the curriculum."""
        if self.curriculum:
            self.curriculum.tell_loss(distributed.mean_over_ranks(loss))
