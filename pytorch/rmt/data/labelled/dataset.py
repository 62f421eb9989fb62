"""What a dataset of texts with labels is: one object that says how it is found and split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rmt.data.labelled import files, hyperpartisan, splitting
from rmt.data.labelled.encoded import LabelledData, encode
from rmt.data.labelled.files import Labelled
from rmt.data.metrics import F1, Metric
from rmt.data.options import DatasetOptions
from rmt.data.text import own
from rmt.data.text.corpora import Inherited
from rmt.data.text.dataset import TextOptions
from rmt.options.option import check_at_least, option
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class LabelledOptions(DatasetOptions):
    """Which texts are read for what, and how much of each."""

    max_segments: int = option(
        0, "texts with labels: so many segments of a text are read, from its beginning; 0: all"
    )
    folds: int = option(
        10,
        "texts with labels: parts that they are dealt to at random; one is to test on, the one "
        "before it to validate on",
    )
    fold: int = option(0, "texts with labels: which of the folds is to test on, from 0")
    split_file: str = option(
        "",
        "texts with labels: JSON file with the ids of those to train, validate (dev) and test on; "
        "empty: folds",
    )
    positive: str = option(
        "", "texts with labels: of two labels the one that F1 is of; empty: the last in order"
    )
    data_seed: int = option(0, "random seed of the folds, which all runs share")

    SHARED: ClassVar[tuple[str, ...]] = ("data_seed",)
    PATHS: ClassVar[tuple[str, ...]] = ("split_file",)

    def __post_init__(self):
        check_at_least(self, 0, "max_segments", "fold", "data_seed")
        check_at_least(self, 3, "folds")
        if self.fold >= self.folds:
            raise UsageError(
                f"fold must be below folds, which is {self.folds}, but it is {self.fold}"
            )


@dataclass(frozen=True)
class LabelledTexts:
    """Texts of any length, each with a label that is to be told after its last token.

    read: finds them in the places that --data names. takes_splits: whether valid_data and test_data
    may name more of them.
    """

    is_task: ClassVar[bool] = True  # scores are of answers
    has_lessons: ClassVar[bool] = False
    metric: ClassVar[Metric] = F1
    options: ClassVar[type[LabelledOptions]] = LabelledOptions

    name: str
    read: Callable[[Sequence[Path]], list[Labelled]]
    takes_splits: bool = True

    def size(self, options: Mapping) -> int:
        return 0

    def described(self, options: Mapping) -> str:
        """For people."""
        return self.name

    def load(
        self,
        data: Sequence[str],
        text: TextOptions,
        options: LabelledOptions,
        *,
        inherited: Inherited | None = None,
        encoded_dir: str | None = None,
        progress: bool = True,
    ) -> LabelledData:
        """The texts, encoded now if they never were.

        Raises UsageError for what is none, can't be split, or has a label that can't be learned.
        """
        splits = self.split(data, text, options)
        splitting.check_not_empty(splits)
        if not inherited:
            splitting.check_labels(splits)
        found = encode(
            self.name,
            splits,
            own.reading(text),
            inherited=inherited,
            encoded_dir=encoded_dir,
            progress=progress,
        )
        if options.positive and options.positive not in found.labels:
            raise UsageError(
                f"positive must be one of the labels {', '.join(found.labels)}, not "
                f"{options.positive}"
            )
        return found

    def split(
        self, data: Sequence[str], text: TextOptions, options: LabelledOptions
    ) -> splitting.Splits:
        """The texts to train, to validate and to test on."""
        texts = self.read([Path(place) for place in data])
        apart = {"valid": text.valid_data, "test": text.test_data}
        if not any(apart.values()):
            if options.split_file:
                return splitting.by_file(texts, Path(options.split_file))
            return splitting.in_folds(texts, options.folds, options.fold, options.data_seed)
        if not self.takes_splits:
            raise UsageError(f"{self.name} is split by folds or split_file: leave out valid_data")
        if not all(apart.values()) or options.split_file:
            raise UsageError(
                "valid_data and test_data are given together, and without split_file: name both, "
                "or neither"
            )
        held_out = {s: self.read([Path(place) for place in own]) for s, own in apart.items()}
        return {"train": texts, **held_out}


CLASSIFY = LabelledTexts("classify", files.read)
HYPERPARTISAN = LabelledTexts("hyperpartisan", hyperpartisan.read, takes_splits=False)
