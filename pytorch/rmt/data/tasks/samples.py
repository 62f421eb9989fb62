"""From an array of samples of an algorithmic task to batches, each cut into segments."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from rmt.data.batches import IGNORED, Update, on_device
from rmt.data.shuffled import ShuffledReader
from rmt.data.tasks.curriculum import Curriculum
from rmt.data.tasks.task import Task
from rmt.runtime import distributed


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


def segments(
    task: Task, samples: np.ndarray, tgt_len: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """What cut makes of samples as a split has them, one segment after the other.

    Of a numbered task no more than a segment is held, however long its samples are.
    """
    if not task.numbered:
        yield from cut(samples, task.scored, tgt_len, device)
        return
    streams = (_in_blocks(task.pieces(number), tgt_len) for number in samples)
    blocks = map(np.stack, zip(*streams, strict=True))
    nothing = np.zeros((len(samples), 0), dtype=np.uint16)
    place = 0
    for block, following in itertools.pairwise(itertools.chain(blocks, [nothing])):
        block = np.concatenate([block, following[:, :1]], axis=1)
        scored = np.arange(place + 1, place + block.shape[1]) >= task.length - task.answer_size
        yield from cut(block, scored, tgt_len, device)
        place += tgt_len


def _in_blocks(pieces: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The pieces joined and cut anew, size ids each; the last block may be shorter."""
    kept = np.zeros(0, dtype=np.uint16)
    for piece in pieces:
        kept = np.concatenate([kept, piece])
        while len(kept) >= size:
            yield kept[:size]
            kept = kept[size:]
    if len(kept):
        yield kept


class SampleReader(ShuffledReader):
    """Reads training samples in random order, epoch after epoch, from a place that can be saved.

    An update is a batch of samples as a whole, each of them one stream from its first segment to
    its last.
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
    ):
        """streams: which of a batch's samples this process reads."""
        self.task, self.samples, self.tgt_len = task, samples, tgt_len
        self.curriculum, self.streams = curriculum, streams
        super().__init__(len(samples), batch_size, seed)  # which seeks the beginning

    @property
    def place(self) -> dict:
        """With the lesson of the curriculum."""
        return super().place | (self.curriculum.place if self.curriculum else {})

    def seek(self, epoch: int, position: int, **lesson) -> None:
        """As place has it; lesson: where in the curriculum."""
        super().seek(epoch, position)
        if lesson:
            self.curriculum.go_to(**lesson)

    def next(self, n_segments: int) -> Update:
        """Return the segments of the next batch of samples; n_segments is a text reader's."""
        samples = self.samples[self.next_numbers()[self.streams]]
        scored, tgt_len, number = self.task.scored, self.tgt_len, 0
        if self.curriculum:
            random = np.random.default_rng([self.seed, self.epoch, self.position])
            number = self.curriculum.draw(random)
            lesson = self.curriculum.lessons[number]
            task = self.task.bare() if lesson.bare else self.task
            samples, scored = task.shortened(samples, lesson.n, lesson.padded)
            tgt_len = lesson.tgt_len
        else:
            samples = self.task.rows(samples)
        segments = cut(samples, scored, tgt_len, torch.device("cpu"))
        return Update(segments, len(samples) * int(scored.sum()), True, number)

    def tell_loss(self, loss: float, lesson: int) -> None:
        """The loss of an update made, and its lesson, for the curriculum; in the updates' order."""
        if self.curriculum:
            self.curriculum.tell_loss(distributed.mean_over_ranks(loss), lesson)
