"""Datasets by their names, as programs find them."""

from pathlib import Path

import numpy as np

from rmt.data import registry
from rmt.data.metrics import PERPLEXITY
from rmt.data.tasks import stored
from rmt.data.tasks.task import SampleOptions, Task, TaskData
from rmt.data.text import corpora
from rmt.data.text.corpora import Corpus
from rmt.data.text.dataset import TextOptions
from rmt.data.vocabulary import Vocabulary


def task_options(name: str, **options: int) -> SampleOptions:
    return registry.find(name).options(**options)


def make_task(name: str, **options: int) -> Task:
    return registry.find(name).make(task_options(name, **options))


def load_task(name: str, encoded_dir: Path, progress: bool = False, **options: int) -> TaskData:
    dataset = registry.find(name)
    return stored.load_task(dataset, task_options(name, **options), encoded_dir, progress)


def load_corpus(name: str, data: Path | None, *, progress: bool = True, **options) -> Corpus:
    """options: of TextOptions, and encoded_dir."""
    encoded_dir = options.pop("encoded_dir", None)
    text = TextOptions(**options)
    return corpora.load_corpus(
        registry.find(name), data, text, encoded_dir=encoded_dir, progress=progress
    )


def corpus_of(splits: dict[str, np.ndarray], metric=PERPLEXITY) -> Corpus:
    """A corpus that was never text."""
    return Corpus("wt103", "0" * 64, Vocabulary(()), splits, metric, ())
