"""What an evaluation is asked with, and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Scores = Mapping[str, float]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scoring:
    """What an evaluation needs beside a model and a split.

    check is called before every segment, or batch, and may raise, in all processes alike.
    """

    device: torch.device = CPU
    precision: str = "fp32"
    check: Callable[[], None] = lambda: None


ON_CPU = Scoring()
