"""What programs ask of a model's options before there is a model; without PyTorch.

Every model has a frozen dataclass of its own that begins with these two fields and adds its sizes,
each an option (rmt.options.option). The methods have defaults that are right for a model about
which nothing more is known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Self

from rmt.options.option import from_json
from rmt.options.schedule import DIAGONAL
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Carried:
    """What one segment of a stream hands to the next: how many numbers, and whether a loss sends
    gradient through them to the segment before."""

    numbers: int
    gradient: bool


@dataclass(frozen=True)
class ModelOptions:
    """n_token: size of the vocabulary, which the data tells. model: its name in the registry."""

    # Lengths that say what a model remembers: rmt.eval has a flag for each.
    LENGTHS: ClassVar[tuple[str, ...]] = ()
    # Options that say how a model computes, not what: runs that differ in these alone are of one
    # configuration, and a run may go on with others.
    NOT_SETTINGS: ClassVar[tuple[str, ...]] = ()

    n_token: int = field(metadata={"help": None})
    model: str

    @classmethod
    def from_record(cls, options: Mapping) -> Self:
        """The options that were written to JSON with dataclasses.asdict."""
        return cls(**{name: from_json(value) for name, value in options.items()})

    @property
    def settings(self) -> dict:
        """All options but NOT_SETTINGS: what the model computes depends on these alone."""
        return {k: value for k, value in asdict(self).items() if k not in self.NOT_SETTINGS}

    def with_settings_alone(self) -> Self:
        """The options with the defaults of NOT_SETTINGS, which any machine has."""
        usual = {spec.name: spec.default for spec in fields(self)}
        return replace(self, **{name: usual[name] for name in self.NOT_SETTINGS})

    @property
    def unusual(self) -> list[str]:
        """What else tells the model from its neighbours in a table, beside sizes, for people."""
        return []

    @property
    def label(self) -> str:
        """The model with what tells it from its neighbours in a table: "rmt, memory 10"."""
        return self.model

    @property
    def memory(self) -> int:
        """The paper's MEMORY column: memory tokens, or cached states."""
        return 0

    @property
    def memory_label(self) -> str:
        """The same for people, with what else a segment remembers: "10, cache 150"."""
        return str(self.memory)

    @property
    def folder_name(self) -> str:
        """The model in the name of a run folder: "rmt-mem10"."""
        return self.model

    @staticmethod
    def hyphenated(parts: Iterable[str]) -> str:
        """Parts of a label as they are in folder_name: "-lora-8"."""
        return "".join(f"-{part.lower().replace(' ', '-')}" for part in parts)

    @property
    def carried(self) -> Carried | None:
        """None where the options don't tell; SegmentModel.carries then looks at a state."""
        return None

    def kept_in(self, folder: Path) -> Self:
        """The options of the same model, where it is to be built of what a run keeps in a folder.

        That is what SegmentModel.files gave. Weights may be random: a checkpoint has them.
        """
        return self

    @property
    def why_eager(self) -> str | None:
        """Why the model computes as it is, neither compiled nor captured; None where it can."""
        return None

    def why_untrained(self, bptt_unrolls: int, goes_on: bool) -> str | None:
        """Why nothing would be trained, as far as these options tell; None where something is.

        goes_on: whether a stream begins once in an epoch, as in text, and not with every sample.
        """
        return None

    @property
    def why_sequential(self) -> str | None:
        """Why layers of different segments can't be computed together; None where they can."""
        return f"{self.model} computes one segment after the other"

    def check_schedule(self, schedule: str) -> None:
        """Raise UsageError for one that the model can't have."""
        if schedule == DIAGONAL and (reason := self.why_sequential):
            raise UsageError(f"schedule diagonal is not possible: {reason}")

    def in_result(self) -> dict:
        """The options that a run's result.json repeats."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.init}

    @classmethod
    def refuses(cls, model: str) -> tuple[str, ...]:
        """Options of the dataclass that mean nothing to one of its models."""
        return ()

    # Other lengths with the same weights

    @classmethod
    def lengths(cls, model: str) -> tuple[str, ...]:
        """Those of LENGTHS that no weight of the model depends on: evaluation may change them."""
        return ()

    def with_lengths(self, changes: Mapping) -> Self:
        """The options with other lengths. Raises UsageError for those that weights depend on."""
        for name, value in changes.items():
            if name in self.lengths(self.model):
                continue
            if name not in {spec.name for spec in fields(self)}:
                raise UsageError(f"{self.model} has no {name}: leave {name} out")
            if value != getattr(self, name):
                if name in self.refuses(self.model):
                    replace(self, **{name: value})  # the options have words of their own for it
                raise UsageError(
                    f"this run was trained with {name} {getattr(self, name)}, which its weights "
                    f"depend on: leave {name} out"
                )
        return replace(self, **changes)

    def lengths_in_evaluation(self, tgt_len: int, eval_tgt_len: int) -> dict:
        """Lengths for evaluation in segments of eval_tgt_len after training in those of tgt_len.

        Raises UsageError where there are none.
        """
        return {}

    def published_evaluation(self, dataset: str, lengths: Mapping) -> tuple[int, dict]:
        """Segment length and lengths of a published evaluation of a dataset.

        lengths: what the dataset says of it (rmt.data.text). Raises UsageError for other models.
        """
        raise UsageError(f"there is no published evaluation of {self.model} on {dataset}")

    # Counted operations, products and sums, of a forward pass; None where nobody has counted.

    def segment_operations(self, n_tokens: int, n_streams: int) -> int | None:
        """Of all layers over one segment; a state that grows is full."""
        return None

    def prediction_operations(self, n_tokens: int) -> float | None:
        """Of the softmax over some predictions."""
        return None
