"""Every model there is, by the name that --model takes.

To add one, write its folder and put its entries into FAMILIES; a script of your own may call
register() instead (docs/adding_a_model.md). Nothing here imports PyTorch.
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from rmt.models.options import ModelOptions
from rmt.runtime.errors import UsageError

if TYPE_CHECKING:
    from rmt.models.contract import SegmentModel

# A module each, whose ENTRIES are in the order in which tables and figures show them.
FAMILIES = (
    "rmt.models.transformer_xl.registered",
    "rmt.models.associative.registered",
    "rmt.models.pretrained.registered",
)
DEFAULT = "rmt"


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a model by its name.

    options: its options dataclass, whose field model is this name.
    model_class: "module:Class" of a SegmentModel that is made of such options, or the class itself.
    means: what its options mean, by name, where the dataclass can't say it of each model.
    published_names: a module that names its weights as other programs do, with are_ours,
        are_theirs, to_published_names and from_published_names (state_dict to state_dict), and
        check_published_weights; None without any.
    published_options: a module that tells the options of another program's checkpoint, with
        published_options, and UNTOLD, which of them its tensors don't tell; None without any.
    plain: "module:Class" of the same model without what makes it fast; None without any.
    implied_by, instead_of: an option; where it is given and that model is named, this one is meant.
        instead_of None: where no model is named.
    colour, marker: in figures, as matplotlib names them; None takes those that are free.
    """

    name: str
    options: type[ModelOptions]
    model_class: "str | type[SegmentModel]"
    means: Mapping[str, str] = field(default_factory=dict)
    published_names: str | None = None
    published_options: str | None = None
    plain: "str | type[SegmentModel] | None" = None
    implied_by: str | None = None
    instead_of: str | None = None
    colour: str | None = None
    marker: str | None = None

    def takes(self, option: str) -> bool:
        """Whether an option means something to the model."""
        own = {spec.name for spec in fields(self.options)}
        return option in own - set(self.options.refuses(self.name))

    def build(self, options: ModelOptions) -> "SegmentModel":
        """A new model with random weights."""
        return _imported(self.model_class)(options)

    def build_plain(self, options: ModelOptions) -> "SegmentModel":
        """The yardstick of rmt.bench. Raises UsageError where there is none."""
        if self.plain is None:
            raise UsageError(f"{self.name} has no plain twin to be compared with")
        return _imported(self.plain)(options)


_entries: dict[str, ModelEntry] = {}


def register(entry: ModelEntry) -> None:
    """Add a model, or put it in the place of the one that has its name."""
    entries()[entry.name] = entry


def entries() -> dict[str, ModelEntry]:
    """All of them, in order."""
    if not _entries:
        for family in FAMILIES:
            _entries.update(
                (entry.name, entry) for entry in importlib.import_module(family).ENTRIES
            )
    return _entries


def find(name: str) -> ModelEntry:
    """Raises UsageError for a name that nothing has."""
    if name not in entries():
        raise UsageError(f"model must be one of {', '.join(entries())}, not {name!r}")
    return entries()[name]


def meant(named: str | None, given: Iterable[str]) -> str:
    """The name of the model that is meant by a name, None for none, and the options beside it."""
    given = set(given)
    for entry in entries().values():
        if entry.implied_by in given and entry.instead_of == named:
            return entry.name
    return named or DEFAULT


def options_of(record: Mapping) -> ModelOptions:
    """The options that dataclasses.asdict wrote into a run's files."""
    return find(record["model"]).options.from_record(record)


def build(options: ModelOptions) -> "SegmentModel":
    """A new model with random weights."""
    return find(options.model).build(options)


def _imported(place):
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
