"""Options of a dataset's own, beside those of training: what they have in common."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Self

from rmt.options import paths


@dataclass(frozen=True)
class DatasetOptions:
    """Inherited from by each kind of dataset that has any."""

    SHARED: ClassVar[tuple[str, ...]] = ()  # options that several datasets have
    PATHS: ClassVar[tuple[str, ...]] = ()  # options that name files or folders

    @classmethod
    def own(cls) -> tuple[str, ...]:
        """The options that other datasets have not."""
        return tuple(spec.name for spec in fields(cls) if spec.name not in cls.SHARED)

    def recorded(self) -> dict:
        """For a run's files, the dataset's own options first."""
        values = paths.all_to_record(asdict(self), self.PATHS)
        return {name: values[name] for name in (*self.own(), *self.SHARED)}

    @classmethod
    def from_record(cls, options: Mapping) -> Self:
        """The inverse of recorded."""
        return cls(**paths.all_from_record(options, cls.PATHS))
