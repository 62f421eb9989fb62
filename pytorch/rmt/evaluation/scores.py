"""What an evaluation is asked with, and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Scoring:
    """What an evaluation needs beside a model and a split."""

    device: torch.device
    precision: str
    check: Callable[[], None] = lambda: None
