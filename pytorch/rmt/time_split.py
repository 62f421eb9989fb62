"""Which part of the model the time of a training step goes to, forward and backward."""

from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from rmt.adaptive_softmax import AdaptiveSoftmax
from rmt.attention import RelativeAttention
from rmt.dropout import Dropout
from rmt.mem_transformer import FeedForward

# The innermost part that an operation is in counts: a dropout's, not the feed-forward's around it.
PARTS = {
    "attention": RelativeAttention,
    "feed-forward": FeedForward,
    "norm": nn.LayerNorm,
    "softmax": AdaptiveSoftmax,
    "dropout": (Dropout, nn.Dropout),
    "embedding": nn.Embedding,
}
OTHER = "other"
MARK = "part: "  # what the names of marked stretches begin with


def part(name: str) -> record_function:
    """A context, or decorator, whose operations belong to a part of the step."""
    return record_function(MARK + name)


def time_split(model: nn.Module, step: Callable[[], None], device: torch.device) -> dict:
    """The share of each part, 0 to 1, in one call of step, the largest first.

    On a GPU it is the time of the kernels; else that of the operations, which is the step's.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with _marked(model), profile(activities=activities) as found:
        step()
    events = found.events()
    part_of_node = _parts_of_nodes(events)
    times = Counter()
    for event in events:
        on_gpu = device.type == "cuda"
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        times[_part_of(event, part_of_node)] += time
    total = sum(times.values())
    return {name: time / total for name, time in times.most_common()}


@contextmanager
def _marked(model: nn.Module):
    """While entered, calls of the model's parts are marked for the profiler."""
    marks, handles = [], []

    def enter(name: str) -> Callable:
        def hook(_module, _inputs):
            mark = part(name)
            mark.__enter__()
            marks.append(mark)

        return hook

    def leave(_module, _inputs, _output) -> None:
        marks.pop().__exit__(None, None, None)

    def mark(name: str, module: nn.Module) -> None:
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave))

    for module in model.modules():
        for name, types in PARTS.items():
            if isinstance(module, types):
                mark(name, module)
        if isinstance(module, RelativeAttention):
            mark("attention", module.key_value)  # which is called before the rest
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mark_around(event) -> str | None:
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        event = event.cpu_parent
    return None


def _backward(event) -> bool:
    return event.name.startswith("autograd::engine::evaluate_function")


def _parts_of_nodes(events) -> dict[int, str]:
    """The part that made each node of the autograd graph, by the node's number.

    Operations note the number that the next node will have, so the last of a number made the node.
    """
    parts = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and not _in_backward(event):
            parts[event.sequence_nr] = _mark_around(event) or OTHER
    return parts


def _in_backward(event):
    while event is not None:
        if _backward(event):
            return event
        event = event.cpu_parent
    return None


def _part_of(event, part_of_node: dict[int, str]) -> str:
    marked = _mark_around(event)
    if marked:
        return marked
    node = _in_backward(event)
    return part_of_node.get(node.sequence_nr, OTHER) if node else OTHER
