"""What a dataset of text is: one object that says how it is found, read and scored.

A dataset is a file beside this one and a line in rmt.data.registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from rmt.data.text.reading import CHARACTERS, Reading
from rmt.data.text.sources import Part
from rmt.runtime.errors import UsageError
from rmt.runtime.files import checkout, project_root

SPLITS = ("train", "valid", "test")
TOKENIZERS = ("char", "word")
OF_A_MODEL = "hf:"  # how the name of a pretrained model's tokenizer begins, before its folder
# What make_mini_data.sh makes of a text: the contents of files by their names in data/.
MakeMini = Callable[[Path], dict[str, bytes]]


@dataclass(frozen=True)
class TextOptions:
    """Options of rmt.train that shape the ids of some datasets, or say where more of them lie."""

    keep_newlines: bool = False
    tokenizer: str = "char"
    valid_data: tuple[str, ...] = ()
    test_data: tuple[str, ...] = ()

    def __post_init__(self):
        if self.tokenizer not in TOKENIZERS and not self.tokenizer.startswith(OF_A_MODEL):
            raise UsageError(
                f"unknown tokenizer {self.tokenizer!r}: choose char, word or hf:FOLDER"
            )


@dataclass(frozen=True)
class Text:
    """Where the documents of each split lie, in order, and how they are read.

    how_split: for people; "" where the dataset leaves no choice.
    """

    documents: Mapping[str, tuple[Part, ...]]
    reading: Reading
    how_split: str = ""


def one_document_each(parts: Mapping[str, Part]) -> dict[str, tuple[Part, ...]]:
    """Splits that are one document each."""
    return {split: (part,) for split, part in parts.items()}


# Files and folders, as --data says: none, one, or several.
Places = str | Path | Sequence[str | Path] | None


def as_places(data: Places) -> tuple[str | Path, ...]:
    """They as a tuple."""
    if isinstance(data, str | Path):
        return (data,) if str(data) else ()
    return tuple(data or ())


@dataclass(frozen=True)
class Mini:
    """A small version for two CPU cores, made by make_mini_data.sh.

    folder: in data/. make: of the folder of the whole text. sha256: of the files made, with which
    the logged runs were trained.
    """

    folder: str
    make: MakeMini
    sha256: Mapping[str, str]


def by_characters(options: TextOptions) -> Reading:
    return CHARACTERS


@dataclass(frozen=True)
class TextDataset:
    """A text that models learn to predict. Its functions are named ones, so that it can be sent to
    a process.

    read: finds the text; place is what --data says, or where getdata.sh puts it, or None.
    reading: how any text is read for its models; read says the same of its own.
    folder: in data/, where getdata.sh puts it; None for a text that it can't fetch.
    has_place: whether it is in a file or folder at all.
    takes: which of TextOptions mean something to it.
    read_several: finds a text of several documents, in several places; None for one that has none.
    cutoffs: of the adaptive softmax, as far as the vocabulary reaches.
    published_evaluation: of rmt.eval --protocol txl, by the size of the model.
    """

    is_task: ClassVar[bool] = False

    name: str
    read: Callable[[Path | None, TextOptions], Text]
    reading: Callable[[TextOptions], Reading] = by_characters
    folder: str | None = None
    has_place: bool = True
    takes: tuple[str, ...] = ()
    cutoffs: tuple[int, ...] = ()
    published_evaluation: Mapping[str, tuple] = field(default_factory=dict)
    mini: Mini | None = None
    read_several: Callable[[Sequence[Path], TextOptions], Text] | None = None

    def find(self, data: Places, options: TextOptions) -> Text:
        """Raises UsageError where there is no such text, and for options of other datasets."""
        self.check(options)
        places = [Path(place) for place in as_places(data)]
        if places and not self.has_place:
            raise UsageError(
                f"the dataset {self.name} brings its text: leave out --data {places[0]}"
            )
        if len(places) > 1 and not self.read_several:
            raise UsageError(
                f"the dataset {self.name} is in one place, but --data names {len(places)}: choose "
                "one, or --dataset text"
            )
        for place in places or filter(None, [self.default_place()]):
            if not place.exists():
                advice = self._advice(place, bool(places))
                raise UsageError(f"there is no {self.name} data at {place}: {advice}")
        if len(places) > 1:
            return self.read_several(places, options)
        return self.read(places[0] if places else self.default_place(), options)

    def check(self, options: TextOptions) -> None:
        """Raise UsageError for options that mean nothing here."""
        for spec in fields(options):
            if spec.name not in self.takes and getattr(options, spec.name) != spec.default:
                raise UsageError(f"{spec.name} means nothing to dataset {self.name}: leave it out")

    def default_place(self) -> Path | None:
        return data_folder() / self.folder if self.folder else None

    def usual_cutoffs(self, n_token: int) -> tuple[int, ...]:
        """The adaptive-softmax cutoffs that a vocabulary of n_token words reaches."""
        return tuple(cutoff for cutoff in self.cutoffs if cutoff < n_token)

    def _advice(self, place: Path, is_given: bool) -> str:
        if self.mini and place.name == self.mini.folder:
            return "make it with `bash run_scripts/make_mini_data.sh`"
        if not self.folder:
            return "check --data"
        if not checkout():  # nor, then, getdata.sh
            return "check --data" if is_given else "name its file or folder with --data"
        download = f"run `bash getdata.sh {self.name}`"
        return f"check --data, or {download} and leave it out" if is_given else download


def data_folder() -> Path:
    """The project's data/, or that of the current folder."""
    data = project_root() / "data"
    return data if data.is_dir() else Path("data")
