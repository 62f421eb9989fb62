"""Models whose layers can be computed together for several segments, and when that is done."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, islice

import torch
from torch import Tensor

from rmt.models.contract import Segment, SegmentModel, State
from rmt.options.schedule import DIAGONAL, SEQUENTIAL


class ScheduledModel(SegmentModel):
    """A model that computes segments by the schedule, if its options have no why_sequential."""

    @abstractmethod
    def diagonal_each(
        self, segments: Iterable[Segment], state: State | None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        """The hidden states that are predicted from, [B, T, D], the targets, and the state after
        each of the segments, which are all of one length."""

    @abstractmethod
    def nll(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Each target's negative log-probability in nats, [B, T]."""

    @abstractmethod
    def log_probs(self, hidden_BTD: Tensor) -> Tensor:
        """The log-probability of every word as next token, [B, T, V]."""

    def forward_each(
        self, segments: Iterable[Segment], state: State | None = None
    ) -> Iterator[tuple[Tensor | None, State]]:
        return self._each(segments, state, super().forward_each, self.nll)

    def predict_each(
        self, segments: Iterable[Segment], state: State | None = None
    ) -> Iterator[tuple[Tensor | None, State]]:
        return self._each(
            segments, state, super().predict_each, lambda hidden_BTD, _: self.log_probs(hidden_BTD)
        )

    def _each(
        self, segments: Iterable[Segment], state: State | None, one_by_one: Callable, made: Callable
    ) -> Iterator[tuple[Tensor | None, State]]:
        """made: what is made of hidden states and their targets."""
        if self.schedule == SEQUENTIAL or self.config.why_sequential:
            yield from one_by_one(segments, state)
            return
        for _, alike in groupby(segments, key=_shape):
            first, run = _looked_into(alike)
            if len(first) > 1 and self._goes_diagonally(first[0]):
                for hidden_BTD, targets_BT, after in self.diagonal_each(run, state):
                    state = after
                    yield None if targets_BT is None else made(hidden_BTD, targets_BT), state
            else:  # one alone, such as a short last one, has nothing to be computed with
                for found, after in one_by_one(run, state):
                    state = after
                    yield found, state

    def _goes_diagonally(self, segment: Segment) -> bool:
        """Whether segments like this one are computed diagonally."""
        (tokens_BT, _), config = segment, self.config
        n_tokens = tokens_BT.numel()
        return n_tokens > 0 and (
            self.schedule == DIAGONAL
            or is_faster(tokens_BT.device, config.n_layer, config.d_model, n_tokens)
        )


def _shape(segment: Segment) -> torch.Size:
    return segment[0].shape


def _looked_into(segments: Iterator[Segment]) -> tuple[list[Segment], Iterator[Segment]]:
    """The first two, and all of them."""
    first = list(islice(segments, 2))
    return first, chain(first, segments)


# Where the time is that of calling operations, not of computing them: up to so many numbers in a
# layer's rows of all streams, where rows of 128 numbers were timed on both cores of a CPU
# (results/bench/cpu-schedules.md). Models of 4, 12 and 24 layers gain 1.4 to 2.8 times with one
# stream of 16 or 64 tokens, and 1.04 to 1.4 times with 8 x 16; with 1 x 256 it is 0.95 to 1.4
# times, and with more nothing is gained. Fewer layers were not timed.
FEWEST_LAYERS, MOST_NUMBERS = 4, 128 * 128


def is_faster(device: torch.device, n_layer: int, d_model: int, n_tokens: int) -> bool:
    """Whether the diagonal schedule was measured to be clearly faster (schedule auto).

    n_tokens: of a segment, in all streams. On a GPU nothing was measured, so the answer is no.
    """
    return device.type == "cpu" and n_layer >= FEWEST_LAYERS and n_tokens * d_model <= MOST_NUMBERS
