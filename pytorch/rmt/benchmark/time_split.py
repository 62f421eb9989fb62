"""Which part of the model the time of a training step goes to, forward and backward.

The innermost part that an operation is in counts.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from rmt.models.contract import SegmentModel, named_parts

OTHER = "other"
MARK = "part: "  # what the names of marked stretches begin with
BACKWARD = "autograd::engine::evaluate_function"  # and those of a node's backward pass
PROFILER = r"torch\.(autograd\.)?profiler"  # modules that warn of cycles and devices


def part(name: str) -> record_function:
    """A context, or decorator, whose operations belong to a part of the step."""
    return record_function(MARK + name)


def time_split(model: SegmentModel, step: Callable[[], None], device: torch.device) -> dict:
    """The share of each part, 0 to 1, in one call of step, the largest first.

    On a GPU it is the time of the kernels; else that of the operations, which is the step's.
    """
    with warnings.catch_warnings():
        # It warns of what is done here on purpose, in every process that measures.
        warnings.filterwarnings("ignore", module=PROFILER)
        events = _profiled(model, step, device)
    part_of_node = _parts_of_nodes(events)
    spent = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = Counter()
    for event in events:
        times[_part_of(event, part_of_node)] += getattr(event, spent)
    total = sum(times.values())
    return {name: time / total for name, time in times.most_common()}


def _profiled(model: SegmentModel, step: Callable[[], None], device: torch.device):
    """The events of one call of step."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with _marked(model), profile(activities=activities) as found:
        step()
    return found.events()


@contextmanager
def _marked(model: SegmentModel):
    """While entered, calls of the model's parts are marked for the profiler: of their forward, or
    of the methods that a module names in `called`."""
    marks, handles, shadowed = [], [], []

    def enter(name: str) -> Callable:
        def hook(_module, _inputs):
            mark = part(name)
            mark.__enter__()
            marks.append(mark)

        return hook

    def leave(_module, _inputs, _output) -> None:
        marks.pop().__exit__(None, None, None)

    def mark(name: str, module: nn.Module) -> None:
        for method in getattr(module, "called", ()):
            setattr(module, method, part(name)(getattr(module, method)))
            shadowed.append((module, method))
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave))

    for name, module in named_parts(model):
        mark(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, method in shadowed:
            delattr(module, method)  # its class has it


def _parts_of_nodes(events) -> dict[int, str]:
    """The part that made each node of the autograd graph, by the node's number.

    Operations note the number that the next node will have, so the last of a number made the node.
    """
    parts = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and _around(event, BACKWARD) is None:
            parts[event.sequence_nr] = _part_of(event, {})
    return parts


def _part_of(event, part_of_node: dict[int, str]) -> str:
    mark = _around(event, MARK)
    if mark is not None:
        return mark.name.removeprefix(MARK)
    node = _around(event, BACKWARD)
    return OTHER if node is None else part_of_node.get(node.sequence_nr, OTHER)


def _around(event, prefix: str):
    """The innermost event around this one, or itself, whose name begins so; None without any."""
    while event is not None and not event.name.startswith(prefix):
        event = event.cpu_parent
    return event
