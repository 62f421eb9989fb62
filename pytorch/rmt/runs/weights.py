"""Weights by their names: in files of safetensors, and given to a model.

Names of one tensor (tied weights) share it in a file, too.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from rmt.runtime.errors import UsageError


def set_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Give a model weights by name, raising UsageError where they are another model's.

    source: where they are from, for messages.
    """
    state = model.state_dict()
    missing, left_over = state.keys() - weights.keys(), weights.keys() - state.keys()
    both = state.keys() & weights.keys()
    others = {name for name in both if state[name].shape != weights[name].shape}
    reasons = [f"it has no {_together(missing)}"] if missing else []
    reasons += [f"there is no {_together(left_over)} here"] if left_over else []
    if others:
        name = min(others)
        shapes = [tuple(of[name].shape) for of in (weights, state)]
        reasons.append(f"its {name} is {shapes[0]}, not {shapes[1]}")
        others = {other for other in others if _anywhere(other) != _anywhere(name)}
        reasons += [f"so differ {_together(others)}"] if others else []
    if reasons:
        raise UsageError(f"{source} holds another model: {'; '.join(reasons)}")
    for name, first in _ties(state).items():
        one, other = weights[first], weights[name]
        if one is not other and not torch.equal(one, other):
            raise UsageError(
                f"{source} holds another model: its {first} and {name} differ, and here they are "
                "one"
            )
    model.load_state_dict(weights)


def _together(names: Iterable[str]) -> str:
    """Names of tensors for people: those of all layers together."""
    return ", ".join(sorted({_anywhere(name) for name in names}))


def _anywhere(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def read_weights(file: Path) -> dict[str, Tensor]:
    """What a file of safetensors holds; tied tensors are one, under all their names."""
    with safetensors.safe_open(file, "pt") as opened:
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        ties = opened.metadata() or {}
    # What else the metadata say names no tensor.
    tied = {name: weights[first] for name, first in ties.items() if first in weights}
    return tied | weights


def write_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Tied tensors once, with their other names in the metadata, as safetensors' save_model does.

    Tensors that share a part of their storage are written one by one.
    """
    ties, storages, written = _ties(weights), set(), {}
    for name, tensor in weights.items():
        if name in ties:
            continue
        storage = tensor.untyped_storage().data_ptr()
        written[name] = tensor.clone() if storage in storages else tensor
        written[name] = written[name].contiguous()
        storages.add(storage)
    safetensors.torch.save_file(written, file, metadata=ties or None)


def _ties(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """For every name but the first of a tensor that has several, the first."""
    ties, first_names = {}, {}
    for name, tensor in weights.items():
        layout = (
            tensor.device,
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        first = first_names.setdefault((tensor.untyped_storage().data_ptr(), *layout), name)
        if first != name and tensor.numel():  # all empty tensors have the same place
            ties[name] = first
    return ties
