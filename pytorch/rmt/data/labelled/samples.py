"""Texts with labels in batches, each text a stream that ends with the batch's last segment.

Segments are whole up to a text's end, and padding stands before its first token, as here with texts
of 7 and 4 tokens in segments of 3:

    . . 1 | 2 3 4 | 5 6 7        |: a segment ends        .: padding
    . . . | . . 1 | 2 3 4        the label is the target of the last token

So every text is read in the same segments whatever it is beside, and all losses are in the last
segment. A stream begins with its text's first segment; what it reads before counts for nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rmt.data.batches import IGNORED, Update
from rmt.data.labelled.encoded import LabelledData, Split
from rmt.data.shuffled import ShuffledReader
from rmt.runtime import distributed


def n_segments(lengths: np.ndarray, tgt_len: int, most: int) -> np.ndarray:
    """Segments of texts of these lengths, at most `most` of each (0: all)."""
    found = -(-lengths // tgt_len)
    return np.minimum(found, most) if most else found


def cut(
    texts: Sequence[np.ndarray], padding: int, tgt_len: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Segments of some texts, [B, T] int64 each, and which texts begin with each, bool [B]."""
    numbers = [-(-len(ids) // tgt_len) for ids in texts]
    n_all = max(numbers)
    rows = np.full((len(texts), n_all * tgt_len), padding, np.int64)
    for row, ids in zip(rows, texts, strict=True):
        row[len(row) - len(ids) :] = ids
    firsts = n_all - np.array(numbers)
    segments = torch.from_numpy(rows).split(tgt_len, dim=1)
    return list(segments), [torch.from_numpy(firsts == i) for i in range(n_all)]


class TextReader(ShuffledReader):
    """Reads texts to train on in random order, from a place that can be saved."""

    def __init__(
        self,
        data: LabelledData,
        batch_size: int,
        tgt_len: int,
        seed: int,
        *,
        segments_at: Callable[[int], int],
        streams: slice = slice(None),
    ):
        """segments_at: how many segments of a text are read at most (0: all) in an update, counted
        from 0. streams: which of a batch's texts this process reads."""
        self.data, self.split, self.tgt_len = data, data.splits["train"], tgt_len
        self.segments_at, self.streams = segments_at, streams
        super().__init__(len(self.split), batch_size, seed)  # which seeks the beginning

    def next(self, n_segments: int) -> Update:
        """Return the segments of the next batch of texts; n_segments is another reader's."""
        most = self.segments_at(self.n_read)
        numbers = self.next_numbers()
        texts = texts_of(self.split, numbers, self.tgt_len, most)
        tokens, begins = cut(texts, self.data.padding, self.tgt_len)
        own = [part[self.streams] for part in tokens]
        targets = torch.full_like(own[-1], IGNORED)
        labels = self.data.first_label + self.split.labels[numbers[self.streams]]
        targets[:, -1] = torch.from_numpy(labels)
        return Update(
            [*((part, None) for part in own[:-1]), (own[-1], targets)],
            len(targets),
            starts_streams=True,
            begins=[part[self.streams] for part in begins],
            # Of all processes: it is this one's share that is asked for.
            n_tokens=sum(map(len, texts)) / distributed.world_size(),
        )

    def tell_loss(self, loss: float, lesson: int) -> None:
        """Texts are read in the same order however well they are learned."""


def texts_of(split: Split, numbers: Sequence[int], tgt_len: int, most: int) -> list[np.ndarray]:
    """Some texts as they are read: of each its first `most` segments (0: all)."""
    return [split.text(i, most * tgt_len if most else None) for i in numbers]
