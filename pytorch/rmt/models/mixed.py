"""Streams of a batch that begin at different times, as the documents in them do.

A model starts all streams of a batch together (state None). Streams of which only some begin are
read in groups that stand alike: those at a beginning, and those whose states have one shape, for a
cache grows in the first segments. So every model does it exactly, whatever its state is, and where
all streams stand alike nothing is done twice.

Axes: B streams of the batch, T tokens of a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rmt.models.contract import Segment, State
from rmt.runtime.device import sent_to


@dataclass(frozen=True)
class Mixed:
    """The states of a batch's streams.

    groups: the numbers of streams that stand alike, and their state, None at a beginning.
    """

    groups: tuple[tuple[tuple[int, ...], State | None], ...]

    @classmethod
    def of(cls, each: Sequence[State | None]) -> Mixed:
        """Of every stream's own state."""
        alike: dict[tuple, list[int]] = {}
        for stream, state in enumerate(each):
            shapes = ((name, tensor.shape) for name, tensor in tensors_of(state).items())
            alike.setdefault(tuple(shapes), []).append(stream)
        return cls(
            tuple(
                (tuple(streams), _joined([each[i] for i in streams])) for streams in alike.values()
            )
        )

    def each(self) -> list[State | None]:
        """Every stream's own state; of is the way back."""
        found = {}
        for streams, state in self.groups:
            for i, stream in enumerate(streams):
                found[stream] = None if state is None else state[i : i + 1]
        return [found[stream] for stream in sorted(found)]

    def begun(self, begins: Sequence[bool]) -> Mixed:
        """The same, but for the streams that begin."""
        if not any(begins):
            return self
        pairs = zip(self.each(), begins, strict=True)
        return self.of([None if is_new else state for state, is_new in pairs])

    def detach(self) -> Mixed:
        return Mixed(
            tuple((streams, None if own is None else own.detach()) for streams, own in self.groups)
        )


def forward_in_turn(
    forward: Callable[[Tensor, Tensor, State | None], tuple[Tensor, State]],
    advance: Callable[[Tensor, State | None], State],
    segments: Iterable[tuple[Segment, Tensor | None]],
    state: State | Mixed | None = None,
) -> Iterator[tuple[Tensor | None, State | Mixed]]:
    """As a model's forward_each, one segment after the other, by its forward and its advance.

    segments: each with which streams begin with it, on the host, bool [B]; states are then Mixed.
    None: all streams go on together, or with state None begin together.
    """
    for (tokens_BT, targets_BT), begins_B in segments:
        if targets_BT is None:
            nll, state = None, advanced(advance, tokens_BT, state, begins_B)
        else:
            nll, state = predicted(forward, tokens_BT, targets_BT, state, begins_B)
        yield nll, state


def predicted(
    model: Callable[[Tensor, Tensor, State | None], tuple[Tensor, State]],
    tokens_BT: Tensor,
    targets_BT: Tensor,
    state: State | Mixed | None,
    begins_B: Tensor | None,
) -> tuple[Tensor, State | Mixed]:
    """What a model's call gives, its losses [B, T] and the next state."""
    if begins_B is None:
        return model(tokens_BT, targets_BT, state)
    losses: list[Tensor] = []

    def after(rows: Tensor | slice, own: State | None) -> State:
        nll, own = model(tokens_BT[rows], targets_BT[rows], own)
        losses.append(nll)
        return own

    before = _standing(state, begins_B)
    mixed = _each_group(before, after, tokens_BT)
    if len(losses) == 1:
        return losses[0], mixed
    order = torch.tensor([stream for streams, _ in before.groups for stream in streams]).argsort()
    return torch.cat(losses)[sent_to(tokens_BT.device, order)], mixed


def advanced(
    advance: Callable[[Tensor, State | None], State],
    tokens_BT: Tensor,
    state: State | Mixed | None,
    begins_B: Tensor | None,
) -> State | Mixed:
    """The same next state, by a model's advance."""
    if begins_B is None:
        return advance(tokens_BT, state)
    before = _standing(state, begins_B)
    return _each_group(before, lambda rows, own: advance(tokens_BT[rows], own), tokens_BT)


def _standing(state: Mixed | None, begins_B: Tensor) -> Mixed:
    if state is None:
        return Mixed(((tuple(range(len(begins_B))), None),))
    return state.begun(begins_B.tolist())


def _each_group(
    mixed: Mixed, after: Callable[[Tensor | slice, State | None], State], tokens_BT: Tensor
) -> Mixed:
    """The states after(rows, state) of every group, in groups that stand alike again."""
    groups = tuple(
        (streams, after(_rows(streams, len(tokens_BT), tokens_BT.device), own))
        for streams, own in mixed.groups
    )
    return Mixed(groups) if len(groups) == 1 else Mixed.of(Mixed(groups).each())


def _rows(streams: Sequence[int], n_streams: int, device: torch.device) -> Tensor | slice:
    """What picks some streams of a batch."""
    if len(streams) == n_streams:
        return slice(None)
    return sent_to(device, torch.tensor(streams))


def tensors_of(state: State | None) -> dict[str, Tensor]:
    """By name; none at a beginning."""
    return {} if state is None else state.tensors()


def _joined(states: Sequence[State | None]) -> State | None:
    """States of one shape as one; one that holds nothing is as good as none."""
    first = tensors_of(states[0])
    if not first:
        return None
    if len(states) == 1:
        return states[0]
    named = [state.tensors() for state in states]
    joined = {name: torch.cat([own[name] for own in named]) for name in first}
    return type(states[0]).from_tensors(joined)
