"""Trained models, read back from the folders of their runs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from rmt.data.vocabulary import Vocabulary
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.models.registry import build
from rmt.runs import checkpoint
from rmt.runs.run_folder import VOCABULARY, saved_checkpoints
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root


def load(folder: str | os.PathLike, *, device: str | torch.device = "cpu") -> SegmentModel:
    """The best model of a run folder, in evaluation mode.

    It has the run's vocabulary and its settings beside what every model has: model.vocabulary,
    model.settings (model.settings.train.tgt_len is the length of a segment in training). Raises
    UsageError where the folder holds no trained model.
    """
    folder = Path(folder)
    settings, options = Settings.read(folder)
    model, _ = best_model(folder, options)
    model.vocabulary, model.settings = read_vocabulary(folder), settings
    return model.to(device)


def best_model(
    folder: Path, options: ModelOptions, which: str = "best"
) -> tuple[SegmentModel, checkpoint.Checkpoint]:
    """A model in evaluation mode with the weights of a run's best or last checkpoint.

    How the run computed says nothing of the machine that it is read on.
    """
    find = checkpoint.find_best if which == "best" else checkpoint.find
    found, model = find(folder), build(options.with_settings_alone())
    found.load_model(model)
    return model.eval(), found


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """A run's; None where the run is older than vocabularies in run folders.

    Raises UsageError where it is damaged.
    """
    path = folder / VOCABULARY
    try:
        return Vocabulary.from_json(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} can't be used ({error})") from None


def newest_run(wanted: Mapping[str, object], lengths: Mapping[str, object]) -> Path:
    """The run in runs/ with the newest checkpoint among those that fit.

    wanted: options that it must have. lengths: of the model, which evaluation may change; a run
    trained with the ones asked for is meant where there is one. Raises UsageError where none fits.
    """
    runs_dir = project_root() / "runs"
    fitting = []
    for path in runs_dir.glob("*/config.json"):
        saved = saved_checkpoints(path.parent)
        if not saved:
            continue
        try:
            settings, model = Settings.read(path.parent)
        except UsageError:  # damaged, or of a model or a dataset that is not here
            continue
        own = settings.scores_depend_on(model) | {
            "segments": settings.train.segments,
            "seed": settings.train.seed,
        }
        changeable = model.lengths(model.model)
        must = {**wanted, **{k: v for k, v in lengths.items() if k not in changeable}}
        if _has(own, must):
            fitting.append((_has(own, lengths), saved[-1].stat().st_mtime, path.parent))
    if not fitting:
        raise UsageError(f"no run in {runs_dir} fits: train first, or name its folder: --work_dir")
    return max(fitting)[-1]


def _has(own: Mapping, wanted: Mapping) -> bool:
    return all(own.get(name) == value for name, value in wanted.items())
