"""Libraries that only some work needs, imported when it is done and nowhere else."""

import importlib
from types import ModuleType

from rmt.runtime.errors import UsageError


def imported(name: str, needed_for: str) -> ModuleType:
    """A module of rmt[hf]. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{needed_for} need the package {name}, which can't be imported ({error}): install it "
            'with pip install "rmt[hf]"'
        ) from None
