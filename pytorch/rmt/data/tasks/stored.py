"""A task's samples, drawn once for all runs and kept as encoded text is."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rmt.data.store import default_encoded_dir, opened_or_made, write_encoded
from rmt.data.tasks.task import Content, SampleOptions, Task, TaskData, TaskDataset, numbers
from rmt.data.vocabulary import Vocabulary

FORMAT = 1  # goes up when the same options give other samples
BLOCK_SAMPLES = 10_000  # assembled and written at a time


def load_task(
    dataset: TaskDataset,
    options: SampleOptions,
    encoded_dir: str | Path | None = None,
    progress: bool = True,
) -> TaskData:
    """The task's samples, made now if they never were; the same options, the same bytes.

    encoded_dir: where they lie; the default is that of load_corpus.
    progress: say so on stderr where they have to be made.

    Raises UsageError for more samples than there can be, and a place that can't be used.
    """
    task = dataset.make(options)
    sizes, seed = dataset.sizes(options), options.data_seed
    facts = {"task": dataset.name, "length": task.length, "samples": sizes, "seed": seed}
    facts |= task.facts
    everything = json.dumps([FORMAT, task.symbols, facts], sort_keys=True)
    fingerprint = hashlib.sha256(everything.encode()).hexdigest()
    if task.numbered:  # there is nothing to keep
        splits = {name: numbers(i, n) for i, (name, n) in enumerate(sizes.items())}
        return TaskData(task, fingerprint, splits)
    folder = Path(encoded_dir or default_encoded_dir()) / f"{dataset.name}-{fingerprint[:16]}"
    _, arrays, _ = opened_or_made(
        folder, fingerprint, lambda: _make_samples(task, facts, folder, fingerprint, progress)
    )
    splits = {split: array.reshape(-1, task.length) for split, array in arrays.items()}
    return TaskData(task, fingerprint, splits)


def _make_samples(task: Task, facts: dict, folder: Path, fingerprint: str, progress: bool) -> None:
    sizes = facts["samples"]
    n_samples = sum(sizes.values())
    contents = task.draw(np.random.default_rng(facts["seed"]), n_samples, unique=True)
    if progress:
        print(f"encoding {task.name} ({n_samples:,} samples) into {folder}", file=sys.stderr)
    parts = np.split(contents, np.cumsum(list(sizes.values()))[:-1])
    blocks = {split: _blocks(task, part) for split, part in zip(sizes, parts, strict=True)}
    write_encoded(folder, fingerprint, facts, Vocabulary(task.symbols), blocks)


def _blocks(task: Task, contents: Content) -> Iterator[np.ndarray]:
    for start in range(0, len(contents), BLOCK_SAMPLES):
        yield task.assemble(contents[start : start + BLOCK_SAMPLES]).ravel()
