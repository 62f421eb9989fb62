"""The attention of a trained model on one test sample of an algorithmic task, and on a text."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from rmt.analysis.patterns import SegmentMaps
from rmt.data.batches import on_device
from rmt.data.tasks.samples import cut
from rmt.data.tasks.stored import load_task
from rmt.data.tasks.task import Task, TaskData, TaskDataset
from rmt.models.contract import SegmentModel
from rmt.runs.settings import Settings
from rmt.runs.trained import best_model
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class TrainedRun:
    """A finished or unfinished run on a task: its settings, its data and its best model."""

    model: SegmentModel
    settings: Settings
    data: TaskData

    @property
    def label(self) -> str:
        """Task and model, for people."""
        task = self.settings.dataset.described(asdict(self.settings.task))
        return f"{task}: {self.model.config.label}"


def load_run(work_dir: Path) -> TrainedRun:
    """The best checkpoint of a run, in evaluation mode, and the samples it was trained on.

    Raises UsageError for a run on text, without a checkpoint, or of other samples.
    """
    settings, options = Settings.read(work_dir)
    if not settings.task:
        raise UsageError(
            f"{work_dir} is a run on text ({settings.dataset.name}): name one that it should read "
            "with --text"
        )
    if not isinstance(settings.dataset, TaskDataset):
        raise UsageError(f"{settings.dataset.name} has no samples to draw: choose another run")
    model, found = best_model(work_dir, options)
    data = load_task(settings.dataset, settings.task, settings.train.encoded_dir or None)
    if found.manifest.get("corpus") != data.fingerprint:
        raise UsageError(f"{work_dir} was trained on other samples than its options make now")
    return TrainedRun(model, settings, data)


def maps_of_sample(run: TrainedRun, index: int) -> list[SegmentMaps]:
    """The attention in every segment of a test sample, teacher-forced.

    The segments before the answer are only advanced through, as in training. Raises UsageError
    for an index beyond the test samples.
    """
    samples = run.data.splits["test"]
    if not 0 <= index < len(samples):
        raise UsageError(f"there is no test sample {index}: choose one of 0 to {len(samples) - 1}")
    tgt_len = run.settings.train.tgt_len
    task = run.data.task
    return attention_maps(run.model, task, task.rows(samples[index : index + 1])[0], tgt_len)


@torch.no_grad()
def attention_maps(
    model: SegmentModel, task: Task, sample_L: np.ndarray, tgt_len: int
) -> list[SegmentMaps]:
    """The attention of a model in evaluation mode in every segment of one sample."""
    state, segments = None, []
    for tokens, targets in cut(sample_L[None], task.scored, tgt_len, torch.device("cpu")):
        attention, state = model.attention(tokens, state, predict=targets is not None)
        symbols = tuple(task.symbols[i] for i in tokens[0])
        n_scored = 0 if targets is None else int((targets >= 0).sum())
        segments.append(SegmentMaps(attention.layers, attention.regions, symbols, n_scored))
    return segments


@torch.no_grad()
def text_maps(
    model: SegmentModel, ids: np.ndarray, shown: Callable[[int], str], tgt_len: int
) -> Iterator[SegmentMaps]:
    """The attention of a model in evaluation mode in one segment after the other of a text.

    shown: what people see of an id.
    """
    state, n_inputs = None, len(ids) - 1
    for start in range(0, n_inputs, tgt_len):
        own = ids[start : min(start + tgt_len, n_inputs)]
        tokens = on_device(own[None], torch.device("cpu"))
        attention, state = model.attention(tokens, state, predict=True)
        symbols = tuple(shown(i) for i in own.tolist())
        yield SegmentMaps(attention.layers, attention.regions, symbols, len(own))
