"""What the tests marked cuda run on: a GPU, or stand-ins for what only a GPU has.

With RMT_DEVICE=cpu, as in run_scripts, the same tests go through all but CUDA itself: results come
late, and what a graph would replay is called again.
"""

import os
from contextlib import contextmanager
from unittest.mock import patch

import torch

from helpers.captured import CalledAgain, captured_step_for
from rmt.training import trainer
from rmt.training.step import Step


def on_stand_ins() -> bool:
    return os.environ.get("RMT_DEVICE") == "cpu"


def device() -> torch.device:
    return torch.device("cpu" if on_stand_ins() else "cuda")


def flags(graph: bool) -> list[str]:
    """Of rmt.train, for a run on the GPU."""
    return [] if on_stand_ins() else ["--cuda", "--cuda_graph", "on" if graph else "off"]


@contextmanager
def steps(graph: bool):
    """Inside, steps are those of a GPU, captured or not."""
    if not on_stand_ins():
        yield
        return
    step_for = captured_step_for(CalledAgain()) if graph else late_step_for
    with patch.object(trainer, "step_for", step_for):
        yield


def late_step_for(*model_config_unrolling_device) -> Step:
    """As on a GPU without graphs."""
    return Step(*model_config_unrolling_device, looks_at_once=False)
