"""What happens between segments: which state a step starts from and how far gradient flows back.

One definition (Bulatov et al. 2022, section 3.2): with N unrolls, the loss of segment t sends
gradient to the computation of segments t-N ... t and to nothing earlier. Two schedules:

    replay  One optimizer step per segment. The step starts from the state kept from before
            segment t-N, advances through t-N ... t-1 with today's weights and predicts t:

                step t      state | t-2  t-1  [t]            N = 2, [.] is predicted
                step t+1         state | t-1  t  [t+1]       its state: after t-2 in step t

    window  One optimizer step per N+1 segments, all of them predicted:

                step        state | [t]  [t+1]  [t+2]
                next                        state | [t+3]  [t+4]  [t+5]

            N+1 times cheaper per token; a loss reaches N/2 earlier segments on average, not N.

With replay_from "newest" a replay starts as the published code's: from the newest memory, which has
read the replayed segments already, with the rest of the state as it is above.

A segment without targets is only passed through. A sample of an algorithmic task is one stream, and
all its losses make one optimizer step; one window of all its segments is full backpropagation.

Streams may begin anew, each by itself, with any segment (--reset_at_documents). Gradient doesn't
cross such a beginning, for nothing is handed over there; a replay reads what lies before it, which
then counts for nothing.

Works with any model that keeps the segment contract, and knows nothing else about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rmt.models.contract import Segment, SegmentModel, State
from rmt.models.mixed import Mixed, forward_in_turn, tensors_of


class Unrolled(nn.Module):
    """A model over several consecutive segments as one differentiable computation.

    One forward of this module meets one backward, which is what DistributedDataParallel needs.
    """

    def __init__(self, model: SegmentModel, checkpoint_segments: bool = False):
        super().__init__()
        self.model = model
        self.checkpoint_segments = checkpoint_segments

    def forward(
        self,
        segments: Sequence[Segment],
        state: State | None = None,
        begins: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor | None, list[State]]:
        """Predict the segments that have targets and advance through the others.

        begins: of each segment, which streams begin anew with it, bool [B]; all states are then
        Mixed.

        Return the predictions' losses, [B, tokens predicted] in nats (None without any), and the
        detached state after every segment.
        """
        checkpointed = self.checkpoint_segments and torch.is_grad_enabled()
        if begins is None and not checkpointed:
            each = self.model.forward_each(segments, state)
        else:
            calls = self.model, self.model.advance
            if checkpointed:
                calls = tuple(partial(self._checkpointed, call) for call in calls)
            with_begins = zip(segments, begins or repeat(None), strict=False)
            each = forward_in_turn(*calls, with_begins, state)
        losses, states = [], []
        for nll, after in each:
            if nll is not None:
                losses.append(nll)
            states.append(after.detach())
        return torch.cat(losses, dim=1) if losses else None, states

    def _checkpointed(self, function, *inputs):
        rooms = self.model.rooms_given

        def run(*inputs):  # again in the backward pass, which may be outside of given_rooms
            with self.model.given_rooms(rooms):
                return function(*inputs)

        return checkpoint(run, *inputs, use_reentrant=False)


@dataclass
class Stream:
    """Where training stands in a batch of token streams.

    state is the detached state before the segments in history (None: the streams start there);
    history holds the tokens of the segments that the next step will replay, and begins, where
    streams begin by themselves, which of them do with each. newest is the state after the history,
    kept for replay_from "newest" alone.
    """

    bptt_unrolls: int
    bptt_mode: str
    replay_from: str = "stored"
    state: State | Mixed | None = None
    newest: State | None = None
    history: list[Tensor] = field(default_factory=list)
    begins: list[Tensor] = field(default_factory=list)

    @property
    def segments_per_step(self) -> int:
        return 1 if self.bptt_mode == "replay" else self.bptt_unrolls + 1

    def reset(self) -> None:
        """Forget everything: the next segment starts new streams."""
        self.state, self.newest, self.history, self.begins = None, None, [], []

    def step(
        self,
        unrolled: nn.Module,
        segments: Sequence[Segment],
        begins: Sequence[Tensor] | None = None,
    ) -> Tensor | None:
        """Take the next segments_per_step segments (fewer at the end of the data).

        begins: of each, which streams begin anew with it, bool [B] on the host; None: as reset
        says, all together.
        Return their losses, [B, tokens predicted] in nats, with the gradient of the definition
        above; None where none of them has targets.
        """
        replayed: list[Segment] = [(tokens, None) for tokens in self.history]
        tokens = self.history + [tokens for tokens, _ in segments]
        n_kept = self.bptt_unrolls if self.bptt_mode == "replay" else 0
        begins = None if begins is None else [*self.begins, *begins]
        n_left_behind = max(0, len(tokens) - n_kept)
        start = self.state
        if self.newest is not None:
            start = self.newest.replayed_as_published(self.state)
        if any(targets is not None for _, targets in segments):
            losses, states = unrolled([*replayed, *segments], start, begins)
        else:  # no loss, so no gradient either: only what a later step starts from
            with torch.no_grad():
                n_needed = len(tokens) if self.replay_from == "newest" else n_left_behind
                losses, states = unrolled([*replayed, *segments][:n_needed], start, begins)
        if n_left_behind:
            self.state = states[n_left_behind - 1]
        # Else the streams have just started; every step goes back to their beginning.
        self.history = tokens[n_left_behind:]
        self.begins = [] if begins is None else begins[n_left_behind:]
        if self.replay_from == "newest" and self.history:
            self.newest = states[-1]
        return losses

    @property
    def begins_by_itself(self) -> bool:
        """Whether each stream has a state of its own, in each() and not in tensors()."""
        return isinstance(self.state, Mixed) or bool(self.begins)

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor, batch first, for a checkpoint; restore is the way back."""
        named = {f"history.{i}": tokens for i, tokens in enumerate(self.history)}
        if self.state is not None:
            named |= {f"state.{name}": tensor for name, tensor in self.state.tensors().items()}
        if self.newest is not None:
            named |= {f"newest.{name}": tensor for name, tensor in self.newest.tensors().items()}
        return named

    def restore(self, named: dict[str, Tensor], state_type: type[State]) -> None:
        """Take the place that tensors() described; state_type is the model's State."""
        groups: dict[str, dict[str, Tensor]] = {"state": {}, "newest": {}, "history": {}}
        for name, tensor in named.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        state, newest, history = groups.values()
        self.state = state_type.from_tensors(state) if state else None
        self.newest = state_type.from_tensors(newest) if newest else None
        self.history = [history[str(i)] for i in range(len(history))]

    def each(self) -> list[dict[str, Tensor]]:
        """The same of every stream alone, where they begin by themselves, on the CPU."""
        parts = {f"history.{i}": tokens for i, tokens in enumerate(self.history)}
        parts |= {f"begins.{i}": begins for i, begins in enumerate(self.begins)}
        states = self.state.each() if self.state else [None] * len(next(iter(parts.values()), ()))
        return [
            {name: part[i : i + 1].cpu().clone() for name, part in parts.items()}
            | {f"state.{name}": part.cpu().clone() for name, part in tensors_of(state).items()}
            for i, state in enumerate(states)
        ]

    def restore_each(
        self, streams: Sequence[dict[str, Tensor]], state_type: type[State], device: torch.device
    ) -> None:
        """Take the places that each() described."""
        self.reset()
        if not streams:
            return
        states: list[dict[str, Tensor]] = [{} for _ in streams]
        for own, state in zip(streams, states, strict=True):
            for name, tensor in own.items():
                if name.startswith("state."):
                    state[name.removeprefix("state.")] = tensor.to(device)
        self.state = Mixed.of([state_type.from_tensors(own) if own else None for own in states])
        joined = {
            name: torch.cat([own[name] for own in streams])
            for name in streams[0]
            if not name.startswith("state.")
        }
        n_replayed = sum(name.startswith("history.") for name in joined)
        self.history = [joined[f"history.{i}"].to(device) for i in range(n_replayed)]
        self.begins = [joined[f"begins.{i}"] for i in range(n_replayed)]  # read on the host
