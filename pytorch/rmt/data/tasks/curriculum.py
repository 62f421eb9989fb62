"""Lessons: samples that begin small, and when to go on to larger ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A first lesson of more symbols may never be learned: the more places the attention has to choose
# from, the less each of them weighs, and the less it is told which is right.
MOST_AT_FIRST = 15


@dataclass(frozen=True)
class Lesson:
    """Samples of n symbols, or pairs, or with roots of at most n, in segments of tgt_len.

    Only every stride-th of a segment's places holds a symbol, the others padding. So where the
    attention has to look may first be learned roughly, for a symbol's neighbours are empty, and
    what is learned stays right when more are filled.

    bare: whether samples have padding in place of a text that is around what counts.
    """

    n: int
    tgt_len: int
    stride: int = 1
    bare: bool = False

    @property
    def padded(self) -> np.ndarray:
        """Which of the n places hold padding: bool [n]."""
        return np.arange(self.n) % self.tgt_len % self.stride > 0


def symbol_lessons(n: int, n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
    """From samples of n_first symbols to whole ones of n, in segments of tgt_len.

    First the segments become more, with at most n_first symbols spread over each (-1: at most
    MOST_AT_FIRST of a segment), then these double until they fill a segment. If n_first is more
    than a segment, samples grow by n_first.
    """
    if n_first < 0:
        n_first = min(MOST_AT_FIRST, tgt_len)
    stride = 1
    while min(n, tgt_len) > n_first * stride:
        stride *= 2
    lessons = [Lesson(some, tgt_len, stride) for some in _up_to(n, max(n_first, tgt_len))]
    while stride > 1:
        stride //= 2
        lessons.append(Lesson(n, tgt_len, stride))
    return tuple(lessons)


def pair_lessons(n: int, n_inputs: int, n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
    """From samples of n_first pairs (-1: one) to whole ones of n, which have n_inputs tokens.

    Pairs grow by n_first while a sample is one segment: to find a value is learned before it has
    to be remembered.
    """
    in_one_segment = [Lesson(some, n_inputs) for some in _up_to(n, 1 if n_first < 0 else n_first)]
    in_all = Lesson(n, min(tgt_len, n_inputs))
    return tuple(dict.fromkeys([*in_one_segment, in_all]))


def growing_lessons(
    n: int, growth: Sequence[int], n_first: int, tgt_len: int
) -> tuple[Lesson, ...]:
    """From samples of n_first (-1: one) by the numbers of growth to whole ones of n.

    Segments are of tgt_len in all of them, so that there are ever more.
    """
    n_first = 1 if n_first < 0 else n_first
    numbers = [n_first, *(some for some in growth if n_first < some < n), n]
    return tuple(Lesson(some, tgt_len) for some in dict.fromkeys(numbers))


def segment_lessons(n: int, n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
    """From samples of n_first segments (-1: one) to whole ones of n tokens, twice as many each."""
    numbers, n_segments = [], max(1, n_first)
    while n_segments * tgt_len < n:
        numbers.append(n_segments * tgt_len)
        n_segments *= 2
    return tuple(Lesson(some, tgt_len) for some in (*numbers, n))


def fewer_pairs(pairs_NPx: np.ndarray, answers_NP: np.ndarray, n: int) -> np.ndarray:
    """n of each sample's P pairs in their order: those that answer, then others from the left on.

    answers_NP: which do, bool.
    """
    by_need = np.argsort(~answers_NP, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(pairs_NPx, np.sort(by_need, axis=1)[:, :, None], axis=1)


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

    def draw(self, random: np.random.Generator) -> int:
        """The number of the next update's lesson."""
        if self.lesson and random.random() > self.share_of_lesson:
            return int(random.integers(self.lesson))
        return self.lesson

    def tell_loss(self, loss: float, lesson: int) -> None:
        """The loss, in nats per token, of an update of this lesson."""
        last = len(self.lessons) - 1
        if self.lesson == last:
            return
        self.n_updates += 1
        if lesson == self.lesson and math.isfinite(loss):
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
