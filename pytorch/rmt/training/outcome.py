"""What came of a step, for the host, which may be some steps ahead of the device."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Outcome:
    """A step's loss and whether it was left out; looking waits for the step to be done.

    step: its number, from 1. n_scored: the targets that its loss is the mean of, over all
    processes. lesson: of a curriculum.
    """

    step: int
    n_scored: int
    lesson: int
    found: "Copied | tuple[float, bool]"

    @property
    def loss(self) -> float:
        return self._found()[0]

    @property
    def left_out(self) -> bool:
        return self._found()[1]

    def _found(self) -> tuple[float, bool]:
        if isinstance(self.found, Copied):
            loss, left_out = self.found.wait()
            self.found = loss, bool(left_out)
        return self.found


class Copied:
    """The values of a tensor as they are now, on their way to the host."""

    def __init__(self, values: Tensor):
        self._done = None
        self._values = values.clone()
        if values.device.type == "cuda":
            self._values = torch.empty_like(values, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._done = torch.cuda.Event(blocking=True)
            self._done.record()

    def wait(self) -> list[float]:
        """The values, as soon as they are there."""
        if self._done is not None:
            self._done.synchronize()
        return self._values.tolist()
