"""From an array of samples of an algorithmic task to batches, each cut into segments."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from rmt import distributed
from rmt.data.batches import IGNORED, Update, on_device
from rmt.data.tasks import Task


def cut(
    samples: np.ndarray, answer_size: int, tgt_len: int, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Samples [B, L] as segments of tgt_len tokens (the last may be shorter) and their targets.

    The targets are one position later; those before the answer, the last answer_size tokens, are
    IGNORED, and a segment in which nothing is left has None.
    """
    tokens = on_device(samples[:, :-1], device)
    targets = on_device(samples[:, 1:], device)
    n_inputs = tokens.shape[1]
    first_scored = n_inputs - answer_size
    targets[:, :first_scored] = IGNORED
    return [
        (tokens[:, start:end], targets[:, start:end] if end > first_scored else None)
        for start in range(0, n_inputs, tgt_len)
        for end in [min(start + tgt_len, n_inputs)]
    ]


@dataclass
class Curriculum:
    """How many symbols, or pairs, samples have: from a few to all, more whenever these are learned.

    A lesson adds as many symbols as the first one had; with the length of a segment for that, what
    was learned of a place in a segment stays right. Most updates are of the lesson, the others of
    earlier ones, lest they be forgotten. A lesson is learned when its loss, averaged over about
    1 / (1 - memory) updates, is below learned_at nats per token; learned or not, it ends after
    n_longest updates.
    """

    n_first: int
    n_full: int
    n_longest: int
    learned_at: float = 0.5
    share_of_lesson: float = 0.8
    memory: float = 0.9
    n_now: int = 0
    n_updates: int = 0  # of this lesson
    mean_loss: float | None = None

    def __post_init__(self):
        self.n_now = self.n_now or min(self.n_first, self.n_full)
        self._n_drawn = self.n_now

    def draw(self, random: np.random.Generator) -> int:
        """The symbols or pairs of the next update's samples."""
        earlier = range(self.n_first, self.n_now, self.n_first)
        if earlier and random.random() > self.share_of_lesson:
            self._n_drawn = int(random.choice(earlier))
        else:
            self._n_drawn = self.n_now
        return self._n_drawn

    def tell_loss(self, loss: float) -> None:
        """The loss of the update that was drawn last, in nats per token."""
        if self._n_drawn < self.n_now or not math.isfinite(loss):
            return
        self.n_updates += 1
        if self.mean_loss is None:  # the lesson's first
            self.mean_loss = loss
        self.mean_loss = self.memory * self.mean_loss + (1 - self.memory) * loss
        is_over = self.mean_loss < self.learned_at or self.n_updates >= self.n_longest
        if is_over and self.n_now < self.n_full:
            self.n_now = min(self.n_full, self.n_now + self.n_first)
            self.n_updates, self.mean_loss = 0, None

    @property
    def place(self) -> dict:
        """Where in the lessons this is; go_to(**place) goes there."""
        return {"n_now": self.n_now, "n_updates": self.n_updates, "mean_loss": self.mean_loss}

    def go_to(self, n_now: int, n_updates: int, mean_loss: float | None) -> None:
        self.n_now, self.n_updates, self.mean_loss = n_now, n_updates, mean_loss


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
        answer_size = self.task.answer_size
        if self.curriculum:
            random = np.random.default_rng([self.seed, self.epoch, self.position])
            n = self.curriculum.draw(random)
            samples, answer_size = self.task.shortened(samples, n), self.task.shorter(n).answer_size
        segments = cut(samples, answer_size, self.tgt_len, self.device)
        return Update(segments, len(samples) * answer_size, True)

    def tell_loss(self, loss: float) -> None:
        """The loss of the update just made, for the curriculum."""
        if self.curriculum:
            self.curriculum.tell_loss(distributed.mean_over_ranks(loss))
