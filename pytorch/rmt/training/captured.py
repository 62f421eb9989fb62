"""The step as one CUDA graph: recorded once, then launched as a whole.

A training step is thousands of small kernels. Launched one by one from Python they leave a fast GPU
waiting; a graph of them does not. What a graph does again is the same kernels on the same memory,
so that a step is copied into the memory that was recorded, and what it hands on lies there, too.

Recorded are steps of a shape that comes again and again. Others, at a stream's start and at the end
of an epoch, run as they would without graphs.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from rmt.data import registry as data
from rmt.data.batches import Update
from rmt.data.labelled.dataset import LabelledTexts
from rmt.models.contract import SegmentModel
from rmt.options.schedule import DIAGONAL
from rmt.options.training import CAPTURED, TrainConfig
from rmt.options.unrolling import Unrolling
from rmt.runtime import distributed
from rmt.runtime.device import copy_from_host
from rmt.runtime.errors import UsageError
from rmt.runtime.progress import say
from rmt.training.recurrence import Segment
from rmt.training.step import Step

N_ALIKE = 4  # steps of one shape in a row before the next one is recorded
MOST = 8  # recordings kept; each holds the memory of a step
ENOUGH_STEPS = 1000  # compiling and recording take about as long as they save in some hundred
# Values of options with which a step can't be captured: its shapes change, or it asks the GPU.
NOT_CAPTURED = {
    "varlen": (True,),
    "reset_at_documents": (True,),
    "checkpoint_segments": (True,),
    "precision": ("fp16",),
    "optim": ("adagrad", "apex_adam"),
}


def step_for(
    model: SegmentModel, config: TrainConfig, unrolling: Unrolling, device: torch.device
) -> Step:
    """A captured step where config.cuda_graph asks for it or, if auto, where it is worth it."""
    reason = model.config.why_eager or why_not(config, device)
    if reason is None:
        if model.schedule == DIAGONAL:
            say("steps are captured, but layers are not compiled: they are computed diagonally")
        elif not config.compile:
            try:
                model.compile()
            except UsageError as error:
                say(f"steps are captured, but layers are not compiled: {error}")
        return CapturedStep(model, config, unrolling, device, CudaGraphs(device))
    if config.cuda_graph == "on":
        raise UsageError(f"--cuda_graph on is not possible: {reason}")
    if device.type == "cuda" and config.cuda_graph == "auto" and distributed.is_main():
        say(f"steps are not captured in a CUDA graph: {reason}")
    return Step(model, config, unrolling, device)


def why_not(config: TrainConfig, device: torch.device) -> str | None:
    """Why steps can't be captured, or are not worth it; None where they are."""
    if device.type != "cuda":
        return "graphs are made on a GPU (--cuda)"
    if config.cuda_graph == "off":
        return "it is off"
    if isinstance(data.find(config.dataset), LabelledTexts):
        return "texts differ in length"
    if distributed.world_size() > 1:
        return "several processes exchange gradients"
    for name, wrong in NOT_CAPTURED.items():
        if getattr(config, name) in wrong:
            return f"{name} is {getattr(config, name)}"
    if config.cuda_graph == "auto" and config.max_step < ENOUGH_STEPS:
        return f"{config.max_step} steps are too few to be worth it (--cuda_graph on)"
    return None


class CudaGraphs:
    """Records what a GPU does in a function, to do it again."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Inside, work goes to the stream that is recorded later."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, function: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
        """What does again what function does, and returns the same tensors with new values.

        The function itself is not done: its kernels are only written down.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            found = function()

        def again() -> list[Tensor]:
            graph.replay()
            return found

        return again


@dataclass
class Recording:
    """A step of one shape: the memory that it reads, and how it is done again.

    names: of each chunk's streams' tensors after the step, which `again` returns after the loss.
    rooms: for how many predictions of each kind there is memory.
    """

    segments: list[Segment]
    streams: list[dict[str, Tensor]]
    rooms: tuple[int, ...]
    names: list[tuple[str, ...]]
    again: Callable[[], list[Tensor]]

    def is_enough(self, rooms: tuple[int, ...]) -> bool:
        return all(own >= needed for own, needed in zip(self.rooms, rooms, strict=True))


class CapturedStep(Step):
    """A Step of which those that are alike are recorded and done again."""

    def __init__(
        self,
        model: SegmentModel,
        config: TrainConfig,
        unrolling: Unrolling,
        device: torch.device,
        graphs: CudaGraphs,
    ):
        super().__init__(model, config, unrolling, device, looks_at_once=False)
        self.graphs = graphs
        self.recordings: dict[tuple, Recording] = {}
        self._shape: tuple | None = None
        self._n_alike = 0

    def __call__(self, update: Update) -> Tensor:
        """As Step's; the tensor has other values after the next step."""
        if update.starts_streams:
            self.restart_streams()
        shape, rooms = self._shape_of(update), self.rooms(update)
        self._n_alike = self._n_alike + 1 if shape == self._shape else 0
        self._shape = shape
        recording = self.recordings.get(shape)
        if recording is None or not recording.is_enough(rooms):
            if self._n_alike < N_ALIKE:
                return self._launch(update, rooms)
            recording = self._record(update, rooms)
            self.recordings.pop(shape, None)
            if len(self.recordings) == MOST:
                del self.recordings[next(iter(self.recordings))]
            self.recordings[shape] = recording
        return self._replay(recording, update)

    @property
    def form(self) -> str:
        return CAPTURED

    def uncompiled(self) -> AbstractContextManager:
        """An evaluation has shapes of its own, not worth seconds of compiling.

        All steps are compiled, for a compiled layer draws other random numbers.
        """
        return nullcontext() if self.config.compile else torch.compiler.set_stance("force_eager")

    def _shape_of(self, update: Update) -> tuple:
        """What two steps must have in common to be one recording."""
        streams = self.chunks[0].tensors()
        return (
            self.chunks[0].bptt_unrolls,  # what is left behind depends on it
            tuple((name, tensor.shape) for name, tensor in streams.items()),
            tuple((t.shape, None if y is None else y.shape) for t, y in update.segments),
            update.n_scored,
        )

    def _launch(self, update: Update, rooms: tuple[int, ...]) -> Tensor:
        """The step as it is without graphs, which makes whatever is made only once."""
        segments = self.sent(update)
        with self.graphs.warming_up():
            return self.run(segments, update.n_scored, rooms)

    def _record(self, update: Update, rooms: tuple[int, ...]) -> Recording:
        # With some rooms to spare, so that few batches need more.
        rooms = tuple(16 * math.ceil((1.25 * room + 16) / 16) for room in rooms)
        segments = [
            (tokens.clone(), None if targets is None else targets.clone())
            for tokens, targets in self.sent(update)
        ]
        before = [stream.tensors() for stream in self.chunks]
        streams = [{name: t.clone() for name, t in named.items()} for named in before]
        inputs = [t for segment in segments for t in segment if t is not None]
        inputs += [t for named in streams for t in named.values()]
        names: list[tuple[str, ...]] = []

        def step() -> list[Tensor]:
            self._set_streams(streams)
            found = self.run(segments, update.n_scored, rooms)
            after = [stream.tensors() for stream in self.chunks]
            names[:] = map(tuple, after)
            # The next step's inputs must not be written while they are read.
            return [found, *(_apart(t, inputs) for named in after for t in named.values())]

        for group in self.optimizer.param_groups:
            group["capturable"] = True  # Adam wants to be told
        try:
            again = self.graphs.record(step)
        finally:
            self._set_streams(before)
            for group in self.optimizer.param_groups:
                group["capturable"] = False
        return Recording(segments, streams, rooms, names, again)

    def _replay(self, recording: Recording, update: Update) -> Tensor:
        for static, stream in zip(recording.streams, self.chunks, strict=True):
            for name, tensor in stream.tensors().items():
                static[name].copy_(tensor)
        for static, new in zip(recording.segments, update.segments, strict=True):
            for own, ids in zip(static, new, strict=True):
                if ids is not None:
                    copy_from_host(own, ids)
        found, *tensors = recording.again()
        after = iter(tensors)
        self._set_streams([{name: next(after) for name in names} for names in recording.names])
        return found

    def _set_streams(self, of_chunks: list[dict[str, Tensor]]) -> None:
        for stream, named in zip(self.chunks, of_chunks, strict=True):
            stream.restore(named, self.model.State)


def _apart(tensor: Tensor, others: list[Tensor]) -> Tensor:
    """The tensor, or a copy where it lies in the memory of one of the others."""
    memory = tensor.untyped_storage().data_ptr()
    shared = any(memory == other.untyped_storage().data_ptr() for other in others)
    return tensor.clone() if shared else tensor
