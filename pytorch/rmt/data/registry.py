"""Every dataset there is, texts, tasks and texts with labels, by the name that --dataset takes.

To add one, write its file and put its object into this page; a script of your own may call
register() instead. Nothing here imports PyTorch.
"""

from rmt.data.labelled.dataset import CLASSIFY, HYPERPARTISAN, LabelledTexts
from rmt.data.tasks.associative import REMEMBER, REWRITE
from rmt.data.tasks.babilong.task import BABILONG
from rmt.data.tasks.facts import FACTS
from rmt.data.tasks.memorization import COPY, REVERSE
from rmt.data.tasks.quadratic import QUADRATIC
from rmt.data.tasks.retrieval import RETRIEVAL
from rmt.data.tasks.task import TaskDataset
from rmt.data.text.dataset import TextDataset
from rmt.data.text.enwik8 import ENWIK8
from rmt.data.text.own import TEXT
from rmt.data.text.pydoc import PYDOC
from rmt.data.text.text8 import TEXT8
from rmt.data.text.wt103 import WT103
from rmt.runtime.errors import UsageError

Dataset = TextDataset | TaskDataset | LabelledTexts

# In the order in which help texts and tables show them.
_datasets: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *(WT103, ENWIK8, TEXT8, TEXT, PYDOC),
        *(COPY, REVERSE, RETRIEVAL, QUADRATIC, REMEMBER, REWRITE, BABILONG, FACTS),
        *(CLASSIFY, HYPERPARTISAN),
    )
}


def register(dataset: Dataset) -> None:
    """Add a dataset, or put it in the place of the one that has its name."""
    _datasets[dataset.name] = dataset


def datasets() -> dict[str, Dataset]:
    """All of them, in order."""
    return _datasets


def tasks() -> dict[str, TaskDataset]:
    """The algorithmic tasks, in order."""
    return {name: own for name, own in _datasets.items() if isinstance(own, TaskDataset)}


def with_answers() -> dict[str, TaskDataset | LabelledTexts]:
    """Algorithmic tasks and texts with labels, in order: those that have options of their own."""
    return {name: dataset for name, dataset in _datasets.items() if dataset.is_task}


def find(name: str) -> Dataset:
    """Raises UsageError for a name that nothing has."""
    if name not in _datasets:
        raise UsageError(f"dataset must be one of {', '.join(_datasets)}, not {name!r}")
    return _datasets[name]
