"""From one long array of token ids to batches of consecutive segments."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rmt.runtime.device import sent_to
from rmt.runtime.errors import UsageError

IGNORED = -100  # a target that does not count; PyTorch's cross_entropy leaves it out


def on_device(ids: np.ndarray, device: torch.device) -> Tensor:
    """Token ids as int64, without waiting for a GPU."""
    return sent_to(device, torch.from_numpy(ids.astype(np.int64)))


class Update(NamedTuple):
    """What one optimizer step trains on, in the host's memory."""

    segments: list[tuple[Tensor, Tensor | None]]  # tokens and targets (None: not predicted)
    n_scored: float  # targets that count, in all streams of a process, on average over them
    starts_streams: bool  # whether the first segment starts new streams
    lesson: int = 0  # which of a curriculum's it is
    # Of each segment, which streams begin anew with it, bool [B]; None: as starts_streams says.
    begins: list[Tensor] | None = None
    # Tokens that are read, in all streams of a process, where neither shapes nor n_scored tell.
    n_tokens: float | None = None

    @property
    def n_read(self) -> float:
        """Tokens, in all streams of a process."""
        if self.n_tokens is not None:
            return self.n_tokens
        if self.begins is not None:  # the others fill segments up
            return self.n_scored
        return sum(tokens.numel() for tokens, _ in self.segments)


class SegmentBatches:
    """A corpus split into parallel streams, read segment by segment, as Transformer-XL does.

    The ids are cut into batch_size streams of equal length n; what doesn't fill a stream at the
    end is left out. Segment i holds positions i*tgt_len ... of every stream, its targets are one
    position later, and the last segment is shorter: every stream's tokens but the first are
    predicted exactly once.

    Raises UsageError where the ids are too few for the batch or the segment.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        tgt_len: int,
        *,
        streams: slice = slice(None),
        device: torch.device | str = "cpu",
    ):
        """streams: which of the batch_size streams this process reads."""
        n_positions = len(ids) // batch_size
        if n_positions < 2:
            raise UsageError(
                f"batch_size {batch_size} is too large for {len(ids)} tokens of data: choose "
                f"{len(ids) // 2} or less"
            )
        if tgt_len >= n_positions:
            raise UsageError(
                f"tgt_len {tgt_len} is longer than the data allows: {len(ids)} tokens in "
                f"{batch_size} streams leave segments of at most {n_positions - 1}"
            )
        self.columns = ids[: batch_size * n_positions].reshape(batch_size, n_positions)[streams]
        self.n_positions = n_positions
        self.tgt_len = tgt_len
        self.device = torch.device(device)

    def bounds(self, varlen_seed: int | None = None) -> list[tuple[int, int]]:
        """First and last-plus-one position of the inputs of every segment, in order.

        With a seed the lengths vary as in Transformer-XL's --varlen: normal around tgt_len with a
        standard deviation of 5 tokens, or around half of it in one of 20 segments, within 5 tokens
        and tgt_len + 15.
        """
        end = self.n_positions - 1
        if varlen_seed is None:
            return [(i, min(i + self.tgt_len, end)) for i in range(0, end, self.tgt_len)]
        random = np.random.default_rng(varlen_seed)
        bounds, start = [], 0
        while start < end:
            mean = self.tgt_len if random.random() < 0.95 else self.tgt_len / 2
            length = min(max(5, int(random.normal(mean, 5))), self.tgt_len + 15)
            bounds.append((start, min(start + length, end)))
            start += length
        return bounds

    def segment(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Tokens start ... end-1 of every stream and their targets: two [B, end - start] int64."""
        return self._on_device(start, end), self._on_device(start + 1, end + 1)

    def _on_device(self, start: int, end: int) -> Tensor:
        return on_device(self.columns[:, start:end], self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.segment(start, end) for start, end in self.bounds())

    def __len__(self) -> int:
        """Segments in one pass."""
        return -(-(self.n_positions - 1) // self.tgt_len)


class EpochReader:
    """Reads training segments in order, epoch after epoch, from a place that can be saved."""

    def __init__(self, batches: SegmentBatches, varlen_seed: int | None = None):
        """varlen_seed: vary the segment lengths, differently in every epoch."""
        self.batches = batches
        self.varlen_seed = varlen_seed
        self.epoch, self.position = 1, 0  # position: segments of this epoch already read
        self._start_epoch()

    @property
    def place(self) -> dict[str, int]:
        """Where the next segment is; seek(**place) goes there."""
        return {"epoch": self.epoch, "position": self.position}

    def next(self, n_segments: int) -> Update:
        """Return the next segments, fewer at an epoch's end. An epoch starts new streams."""
        if self.position >= len(self._bounds):
            self.epoch, self.position = self.epoch + 1, 0
            self._start_epoch()
        taken = self._bounds[self.position : self.position + n_segments]
        starts_epoch = self.position == 0
        self.position += len(taken)
        return self.update(taken, starts_epoch)

    def update(self, taken: Sequence[tuple], starts_epoch: bool) -> Update:
        """Of the segments with these bounds."""
        segments = [self.batches.segment(*bound) for bound in taken]
        n_scored = sum(targets.numel() for _, targets in segments)
        return Update(segments, n_scored, starts_epoch)

    def tell_loss(self, loss: float, lesson: int) -> None:
        """Text is read in the same order however well it is learned."""

    def seek(self, epoch: int, position: int) -> None:
        """Go on from a place that another reader of the same data had reached."""
        self.epoch, self.position = epoch, position
        self._start_epoch()

    def _start_epoch(self) -> None:
        seed = None if self.varlen_seed is None else 1_000_003 * self.varlen_seed + self.epoch
        self._bounds = self.batches.bounds(seed)
