"""One optimizer step: forward over the unrolled segments, backward, clip, update, the next state.

Nothing in it waits for a GPU. What a step found, its loss and whether it was left out, is returned
as a tensor there, and the host may look at it some steps later.

A step is left out if its loss or its gradient's norm is not finite, in any process:

    - weights and the optimizer's state stay as they are. That is decided where they are;
    - where the host looks at once (on a CPU) new streams start with the next step;
    - where it looks LATE steps later (on a GPU) these steps go on from the state before the step
      that was left out. Only where streams had just started is there none, and where they begin by
      themselves (reset_at_documents) none is kept: these steps then begin with what that step left,
      and may be left out as well. After them new streams start.

With fp16 a gradient that overflows is how the loss scale is found. Such a step leaves the weights
alone, too, but it counts as left out only if the scale is below 1.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rmt.data.batches import Update
from rmt.models.contract import SegmentModel
from rmt.options.training import COMPILED, EAGER, TrainConfig
from rmt.options.unrolling import Unrolling
from rmt.runtime import distributed
from rmt.runtime.device import sent_to
from rmt.runtime.errors import UsageError
from rmt.runtime.precision import autocast
from rmt.training.optimization import build_optimizer, update_weights
from rmt.training.recurrence import Segment, Stream, Unrolled

LATE = 2  # steps that the host may be ahead of a GPU


class Step:
    """The step of a model and an optimizer, with the streams that it goes on from."""

    def __init__(
        self,
        model: SegmentModel,
        config: TrainConfig,
        unrolling: Unrolling,
        device: torch.device,
        *,
        looks_at_once: bool | None = None,
    ):
        """looks_at_once: whether looking at what is computed costs the host nothing; None: on a
        CPU."""
        self.model, self.config, self.device = model, config, device
        self.looks_at_once = device.type == "cpu" if looks_at_once is None else looks_at_once
        self.unrolled: nn.Module = Unrolled(model, config.checkpoint_segments)
        if distributed.world_size() > 1:
            # What a stream begins with is a weight in many models. It is used while the start is
            # within the unroll, and then what was handed on takes its place.
            self.unrolled = distributed.replica(
                self.unrolled, find_unused_parameters=model.carries.numbers > 0
            )
        self.optimizer = build_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.chunks = [Stream(*unrolling) for _ in range(config.batch_chunk)]

    @property
    def late(self) -> int:
        """How many steps later the host looks at what a step found."""
        return 0 if self.looks_at_once else LATE

    @property
    def form(self) -> str:
        """How the step is run, for reports."""
        return COMPILED if self.config.compile else EAGER

    @property
    def segments_per_step(self) -> int:
        return self.chunks[0].segments_per_step

    def set_unrolls(self, bptt_unrolls: int) -> None:
        """How far gradient flows back from now on.

        Streams go on. Where segments are replayed and it is farther than before, their history
        grows, one segment with every step, until it is as long.
        """
        for stream in self.chunks:
            stream.bptt_unrolls = bptt_unrolls

    def __call__(self, update: Update) -> Tensor:
        """Make a step; return its mean loss in nats and whether it was left out: [2] float64.

        The loss is of this process's streams: its mean over all processes is that of all tokens.
        """
        if update.starts_streams:
            self.restart_streams()
        return self.run(self.sent(update), update.n_scored, self.rooms(update), update.begins)

    def uncompiled(self) -> AbstractContextManager:
        """Inside, what is not a step runs."""
        return nullcontext()

    def sent(self, update: Update) -> list[Segment]:
        """The update's segments, on the device."""
        return [
            (sent_to(self.device, x), None if y is None else sent_to(self.device, y))
            for x, y in update.segments
        ]

    def rooms(self, update: Update) -> tuple[int, ...] | None:
        """The rooms that are enough for every segment's predictions (SegmentModel.rooms).

        None where the host looks at once: it then asks, for exactly as many as are needed.
        """
        if self.looks_at_once:
            return None
        of_each = [
            self.model.rooms(part)
            for _, targets in update.segments
            if targets is not None
            for part in targets.chunk(len(self.chunks))
        ]
        return tuple(max(part) for part in zip(*of_each, strict=True))

    def run(
        self,
        segments: Sequence[Segment],
        n_scored: float,
        rooms: tuple[int, ...] | None,
        begins: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """As __call__, on segments that are on the device, of streams that go on.

        It is this that a CUDA graph captures.
        """
        keeps = not self.looks_at_once and begins is None
        before = [stream.tensors() for stream in self.chunks] if keeps else None
        loss = self.accumulate_gradients(segments, n_scored, rooms, begins)
        left_out = self.update(loss)
        if before is not None:
            self._keep(before, left_out)
        return torch.stack([loss.double(), left_out.double()])

    def accumulate_gradients(
        self,
        segments: Sequence[Segment],
        n_scored: float,
        rooms: tuple[int, ...] | None = None,
        begins: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Backpropagate the mean loss of this process's streams, chunk by chunk; return it.

        begins: of each segment, which streams begin anew with it (Update).
        """
        self.unrolled.train()
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        n_segments, per_step = len(segments), self.segments_per_step
        for i, stream in enumerate(self.chunks):
            own = [self._chunk(segment, i) for segment in segments]
            own_begins = None if begins is None else self._chunk(begins, i)
            for start in range(0, n_segments, per_step):
                is_last = i == len(self.chunks) - 1 and start + per_step >= n_segments
                with (
                    self._gradients_stay_here(not is_last),
                    self.model.accumulating_gradients(),
                    self.model.given_rooms(rooms),
                ):
                    with autocast(self.device, self.config.precision):
                        part = slice(start, start + per_step)
                        losses = stream.step(
                            self.unrolled, own[part], own_begins and own_begins[part]
                        )
                    if losses is not None:
                        loss = losses.sum() / n_scored
                        check_trains(loss)
                        self.scaler.scale(loss).backward()
                        total += loss.detach()
        return total

    def _chunk(self, segment: Sequence[Tensor | None], i: int) -> tuple[Tensor | None, ...]:
        """The i-th chunk's streams of what belongs to all."""
        return tuple(ids if ids is None else ids.chunk(len(self.chunks))[i] for ids in segment)

    def _gradients_stay_here(self, here: bool):
        """Between chunks the processes need not exchange gradients."""
        if here and isinstance(self.unrolled, DistributedDataParallel):
            return self.unrolled.no_sync()
        return nullcontext()

    def update(self, loss: Tensor) -> Tensor:
        """Clip the gradient, change the weights; return whether the step was left out: bool []."""
        self.scaler.unscale_(self.optimizer)
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self._clip(norm)
        skipped = ~(loss.isfinite() & norm.isfinite())
        left_out = skipped
        if self.scaler.is_enabled():
            scale = self.scaler.scale(torch.ones((), device=self.device))
            left_out = ~loss.isfinite() | (skipped & (scale < 1))
        skipped, left_out = distributed.any_rank_of(torch.stack([skipped, left_out]))
        update_weights(self.optimizer, skipped)
        self.scaler.update()
        return left_out

    def _clip(self, norm: Tensor) -> None:
        """Limit the gradient's norm, which is `norm` now."""
        # Where looking costs nothing: else every gradient would be multiplied by one.
        if self.looks_at_once and norm <= self.config.clip:
            return
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        nn.utils.clip_grads_with_norm_(weights, self.config.clip, norm)

    def _keep(self, before: Sequence[dict[str, Tensor]], left_out: Tensor) -> None:
        """If the step was left out, let the next one begin where it began."""
        for stream, old in zip(self.chunks, before, strict=True):
            kept = {
                name: torch.where(left_out, old[name], new)
                if name in old and old[name].shape == new.shape
                else new
                for name, new in stream.tensors().items()
            }
            stream.restore(kept, self.model.State)

    # The streams between steps

    def restart_streams(self) -> None:
        """The next step begins new ones."""
        for stream in self.chunks:
            stream.reset()

    def gathered(self) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """The streams of all processes for a checkpoint, on the CPU; restore_own is the way back.

        Where they begin by themselves it is a list of them, for their states differ in shape.
        """
        if any(stream.begins_by_itself for stream in self.chunks):
            own = [each for stream in self.chunks for each in stream.each()]
            return distributed.gather_list(own)
        return {name: distributed.gather_streams(each) for name, each in self.tensors().items()}

    def restore_own(self, streams: dict[str, Tensor] | list[dict[str, Tensor]], own: slice) -> None:
        """own: which of all processes' streams are this one's."""
        if isinstance(streams, dict):
            self.restore({name: tensor[own] for name, tensor in streams.items()})
            return
        streams = streams[own]
        size = len(streams) // len(self.chunks)
        for i, stream in enumerate(self.chunks):
            part = streams[i * size : (i + 1) * size]
            stream.restore_each(part, self.model.State, self.device)

    def tensors(self) -> dict[str, Tensor]:
        """The chunks' streams, joined in the order of the batch; restore is the way back."""
        parts = [stream.tensors() for stream in self.chunks]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def restore(self, named: dict[str, Tensor]) -> None:
        for i, stream in enumerate(self.chunks):
            part = {
                name: tensor.to(self.device).chunk(len(self.chunks))[i]
                for name, tensor in named.items()
            }
            stream.restore(part, self.model.State)


def check_trains(loss: Tensor) -> None:
    """Raise UsageError for a loss that depends on no weight that is trained."""
    if not loss.requires_grad:
        raise UsageError(
            "the loss of a segment depends on nothing that is trained, for the initial memory is "
            "further back than bptt_unrolls: train more of the model, or give more unrolls"
        )
