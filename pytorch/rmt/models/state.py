"""What a model hands from segment to segment, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor


@dataclass(frozen=True)
class State:
    """What one segment hands to the next: a frozen dataclass of tensors, each batch first.

    A field is a tensor, a tuple of tensors, or None where there is nothing yet. A model's own State
    is a dataclass that inherits from this one and adds its fields.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The state with function applied to every tensor."""

        def each(value):
            if value is None:
                return None
            return tuple(map(function, value)) if isinstance(value, tuple) else function(value)

        mapped = {spec.name: each(getattr(self, spec.name)) for spec in fields(self)}
        return type(self)(**mapped)

    def detach(self) -> Self:
        """The same values, cut off from the computation that made them."""
        return self.map(Tensor.detach)

    def to(self, *args, **kwargs) -> Self:
        """Move to a device or dtype, as Tensor.to."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def __getitem__(self, streams: slice | Tensor | Sequence[int]) -> Self:
        """The state of some of the batch's streams."""
        return self.map(lambda tensor: tensor[streams])

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor, "field" or "field.0", for saving; from_tensors is the way back."""
        named = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, tuple):
                named |= {f"{spec.name}.{i}": tensor for i, tensor in enumerate(value)}
            elif value is not None:
                named[spec.name] = value
        return named

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> Self:
        values = {}
        for name, tensor in sorted(named.items(), key=lambda item: _place(item[0])):
            field, dot, _ = name.partition(".")
            values[field] = (*values.get(field, ()), tensor) if dot else tensor
        return cls(**values)

    def replayed_as_published(self, stored: Self | None) -> Self:
        """Of the newest state: what a replay starts from with --replay_from newest.

        stored: the state before the first segment that is replayed; None at a stream's start.
        """
        return self

    def check_streams(self, n_streams: int) -> Self:
        """The state itself; ValueError unless it is of so many streams."""
        for name, tensor in self.tensors().items():
            if len(tensor) != n_streams:
                raise ValueError(
                    f"the state's {name} holds {len(tensor)} streams, the tokens {n_streams}"
                )
        return self


def _place(name: str) -> tuple[str, int]:
    field, _, i = name.partition(".")
    return field, int(i or 0)
