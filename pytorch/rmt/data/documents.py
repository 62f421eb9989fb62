"""Batches in which every document begins with a new state (--reset_at_documents)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rmt.data.batches import IGNORED, EpochReader, SegmentBatches, Update
from rmt.runtime import distributed
from rmt.runtime.device import sent_to
from rmt.runtime.errors import UsageError


class DocumentBatches:
    """A corpus of documents in parallel streams, none of whose segments reaches into the next one.

    Every document is cut into segments of tgt_len tokens, of which the last may be shorter, and all
    segments in their order are dealt to batch_size streams, so that they have as many, or one more:

        documents    [a a a a a a a] [b b] [c c c c]        tgt_len 3, 2 streams
        stream 0     a a a | a a a | b .                    |: a segment ends
        stream 1     c c c | . . . | . . .                  .: nothing; its target is IGNORED

    The last token of a document is a target alone, and its first one is never predicted. A stream
    begins at a document's start, and where its own first segment is, as a stream of any text does.
    What fills a short segment up is read after the last token that counts, and the state after it
    is not used.

    Raises UsageError where there are fewer segments than streams.
    """

    def __init__(
        self,
        ids: np.ndarray,
        documents: Sequence[int],
        batch_size: int,
        tgt_len: int,
        *,
        streams: slice = slice(None),
        device: torch.device | str = "cpu",
    ):
        """documents: the places of their first tokens. streams: those that this process reads."""
        self.ids, self.device = ids, torch.device(device)
        self.streams = streams
        cut = [
            _cut(*bounds, tgt_len)
            for bounds in zip(documents, [*documents[1:], len(ids)], strict=True)
        ]
        # Of every segment: the places of its first token and after its last, and whether it begins
        # a document. [n segments] each.
        self.starts, self.ends, self.begins = (
            np.concatenate(part) for part in zip(*cut, strict=True)
        )
        if len(self.starts) < batch_size:
            raise UsageError(
                f"batch_size {batch_size} is too large for {len(self.starts)} segments of at most "
                f"{tgt_len} tokens, none of which holds two documents: choose "
                f"{max(1, len(self.starts))} or less"
            )
        self.shares = np.array_split(np.arange(len(self.starts)), batch_size)

    def bounds(self, varlen_seed: int | None = None) -> list[tuple[int]]:
        """The numbers of the batches in one pass."""
        return [(i,) for i in range(len(self))]

    def segment(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """The i-th segment of every stream: tokens and targets, [B, T] int64, and which of the
        streams begin, bool [B] on the host. T is the longest one's, of all processes."""
        taken = [share[i] if i < len(share) else None for share in self.shares]
        length = max(self.ends[j] - self.starts[j] for j in taken if j is not None)
        own = taken[self.streams]
        tokens = np.zeros((len(own), length), np.int64)
        targets = np.full((len(own), length), IGNORED, np.int64)
        for row, j in enumerate(own):
            if j is not None:
                start, end = self.starts[j], self.ends[j]
                tokens[row, : end - start] = self.ids[start:end]
                targets[row, : end - start] = self.ids[start + 1 : end + 1]
        begins = [j is not None and (i == 0 or bool(self.begins[j])) for j in own]
        sent = (sent_to(self.device, torch.from_numpy(each)) for each in (tokens, targets))
        return *sent, torch.tensor(begins, dtype=torch.bool)

    def n_scored(self, i: int) -> int:
        """Targets that count in the i-th segments of all streams, of all processes."""
        taken = [share[i] for share in self.shares if i < len(share)]
        return int((self.ends[taken] - self.starts[taken]).sum())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return (self.segment(i) for i in range(len(self)))

    def __len__(self) -> int:
        """Segments of the longest stream, the first."""
        return len(self.shares[0])


def _cut(start: int, stop: int, tgt_len: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the segments of a document start and end, and which is its first one."""
    starts = np.arange(start, stop - 1, tgt_len)
    return starts, np.minimum(starts + tgt_len, stop - 1), starts == start


def batches_of(
    ids: np.ndarray,
    documents: Sequence[int] | None,
    batch_size: int,
    tgt_len: int,
    *,
    streams: slice = slice(None),
    device: torch.device | str = "cpu",
) -> SegmentBatches | DocumentBatches:
    """Of documents that begin with a new state; of one text where there are none (None)."""
    share = {"streams": streams, "device": device}
    if documents is None:
        return SegmentBatches(ids, batch_size, tgt_len, **share)
    return DocumentBatches(ids, documents, batch_size, tgt_len, **share)


class DocumentReader(EpochReader):
    """Reads training segments of documents in order, epoch after epoch."""

    def update(self, taken: Sequence[tuple], starts_epoch: bool) -> Update:
        segments = [self.batches.segment(*bound) for bound in taken]
        # The processes' shares may differ, but their gradients are averaged with equal weight.
        n_scored = sum(self.batches.n_scored(*bound) for bound in taken) / distributed.world_size()
        return Update(
            [(tokens, targets) for tokens, targets, _ in segments],
            n_scored,
            starts_epoch,
            begins=[begins for *_, begins in segments],
        )
