"""A trained model to hand on: its run folder without what training alone needs.

The best weights, the vocabulary, the configuration, the logs and the result stay; optimizer,
schedule, random numbers, the other checkpoints and the curves don't. What is left can be loaded,
scored, generates, and begins other runs (--init_from).
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from rmt.runs import checkpoint
from rmt.runs.run_folder import KEPT, VOCABULARY, saved_checkpoints
from rmt.runs.settings import Settings
from rmt.runtime.files import new_folder

SMALL_FILES = ("config.json", VOCABULARY, "metrics.jsonl", "log.txt", "result.json")
MADE_ANEW = ("step", "sha256", "digest")  # of a manifest


def is_run(place: Path) -> bool:
    """Whether a folder holds a run of ours that has saved."""
    return place.is_dir() and bool(saved_checkpoints(place))


def hand_on(run: Path, target: Path, *, in_bf16: bool) -> str:
    """Make a folder of a run's best model; returns what it is, for people.

    in_bf16: whether its weights are rounded to bf16, which halves the file; models are loaded in
    fp32 all the same. Raises UsageError, and leaves nothing, where it can't be made.
    """
    _, options = Settings.read(run)
    found = checkpoint.find_best(run)
    weights = found.weights()
    if in_bf16:
        weights = _in_bf16(weights)
    about = {name: value for name, value in found.manifest.items() if name not in MADE_ANEW}
    with new_folder(target) as folder:
        for name in SMALL_FILES:
            with suppress(FileNotFoundError):  # of an older run, or one that hasn't ended
                shutil.copyfile(run / name, folder / name)
        if (run / KEPT).is_dir():
            shutil.copytree(run / KEPT, folder / KEPT)
        saved = checkpoint.save(folder, found.step, weights, {}, about, best=True)
        size = (saved / checkpoint.MODEL_FILE).stat().st_size
    return f"{options.label} of step {found.step:,}, {size / 1e6:.1f} MB of weights"


def _in_bf16(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # One by one and not name by name: tied tensors have several names, and stay one.
    rounded = {id(weight): weight.to(torch.bfloat16) for weight in weights.values()}
    return {name: rounded[id(weight)] for name, weight in weights.items()}
