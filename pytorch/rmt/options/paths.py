"""Paths in a run's records: relative to the project, so that they can be read anywhere."""

import os
from collections.abc import Mapping, Sequence

from rmt.runtime.files import project_root


def to_record(path: str) -> str:
    """A path as it is written down; an option that names none stays empty."""
    return path and os.path.relpath(path, project_root())


def from_record(path: str) -> str:
    """The inverse: as it is right in the current folder."""
    return path and os.path.relpath(project_root() / path)


def all_to_record(options: Mapping[str, object], paths: Sequence[str]) -> dict:
    """Options, those of them that are paths as they are written down."""
    return {k: to_record(value) if k in paths else value for k, value in options.items()}


def all_from_record(options: Mapping[str, object], paths: Sequence[str]) -> dict:
    """The inverse."""
    return {k: from_record(value) if k in paths else value for k, value in options.items()}
