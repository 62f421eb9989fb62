"""What the past is worth to a trained model: losses on text by position, and by how much was read.

The same segments of a text are predicted again and again, from states that have read 0, 1, 2, 4 ...
of the segments just before them and nothing earlier. What falls from one number to the next is what
the memory or the cache brings from there.

Axes: N segments that are predicted, T their tokens, G numbers of segments read before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rmt.data.batches import on_device
from rmt.models.contract import SegmentModel
from rmt.runtime.errors import UsageError
from rmt.runtime.progress import Progress


@dataclass(frozen=True)
class ContextLosses:
    """n_before: how many segments before were read, rising [G]. nats: of every token [G, N, T]."""

    n_before: tuple[int, ...]
    nats: np.ndarray

    @property
    def tgt_len(self) -> int:
        return self.nats.shape[2]

    @property
    def n_segments(self) -> int:
        return self.nats.shape[1]

    @property
    def losses(self) -> np.ndarray:
        """Mean nats per token [G]."""
        return self.nats.mean(axis=(1, 2))

    @property
    def gains(self) -> np.ndarray:
        """How many nats per token are saved by what was read before [G]."""
        return self.losses[0] - self.losses

    @property
    def gain_errors(self) -> np.ndarray:
        """Standard errors of gains over the segments [G]; nan for a single one."""
        gains_GN = (self.nats[:1] - self.nats).mean(axis=2)
        if self.n_segments < 2:
            return np.full(len(self.n_before), np.nan)
        return gains_GN.std(axis=1, ddof=1) / np.sqrt(self.n_segments)

    def by_position(self, without: bool, n_bins: int | None = None) -> tuple[list, list]:
        """Positions in the segment, from 1, and the mean nats there.

        without: of a state that has read nothing; else of that which has read most. n_bins: take
        the means of neighbours, as many as leave no more numbers than these.
        """
        nats_T = self.nats[0 if without else -1].mean(axis=0)
        width = -(-self.tgt_len // (n_bins or self.tgt_len))
        bins = [slice(i, min(i + width, self.tgt_len)) for i in range(0, self.tgt_len, width)]
        positions = [(own.start + 1 + own.stop) / 2 for own in bins]
        return positions, [float(nats_T[own].mean()) for own in bins]


def numbers_before(most: int) -> tuple[int, ...]:
    """0, 1, 2, 4, 8 ... and most."""
    powers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return (0, *powers, most)


@torch.no_grad()
def context_losses(
    model: SegmentModel,
    ids: np.ndarray,
    tgt_len: int,
    n_before: Sequence[int],
    n_segments: int,
    *,
    batch_size: int = 10,
    name: str = "the text",
) -> ContextLosses:
    """Predict at most n_segments segments, spread evenly over a text [tokens].

    The model is in evaluation mode. n_before begins with 0 and rises. Raises UsageError for a text
    that has not one segment with so many before.
    """
    most = n_before[-1]
    n_whole = (len(ids) - 1) // tgt_len
    if n_whole <= most:
        raise UsageError(
            f"{name} holds {n_whole} whole segments of {tgt_len} tokens, too few for one with "
            f"{most} before: give a longer --text, or a smaller --history"
        )
    n_chosen = min(n_segments, n_whole - most)
    chosen = np.linspace(most, n_whole - 1, n_chosen).round().astype(int)
    device = next(model.parameters()).device
    nats = []
    with Progress(n_chosen, f"context on {name}") as bar:
        for part in np.array_split(chosen, -(-n_chosen // batch_size)):
            window = np.stack([ids[(i - most) * tgt_len : (i + 1) * tgt_len + 1] for i in part])
            losses = _predicted(model, on_device(window, device), tgt_len, n_before)
            nats.append(torch.stack(list(losses)).double().cpu().numpy())
            bar.update(len(part))
    return ContextLosses(tuple(n_before), np.concatenate(nats, axis=1))


def _predicted(
    model: SegmentModel, window: Tensor, tgt_len: int, n_before: Sequence[int]
) -> Iterator[Tensor]:
    """Nats [N, T] of a window's last segment, for each number of segments read before it."""
    *before, last = window[:, :-1].split(tgt_len, dim=1)
    targets = window[:, -tgt_len:]
    for n in n_before:
        state = None
        for tokens in before[len(before) - n :]:
            state = model.advance(tokens, state)
        yield model(last, targets, state)[0]
