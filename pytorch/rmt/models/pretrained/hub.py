"""The libraries of pretrained models, imported when something asks for them and nowhere else."""

import importlib
from types import ModuleType

from rmt.runtime.errors import UsageError


def transformers() -> ModuleType:
    """Raises UsageError where it is not installed."""
    return _imported("transformers", "pretrained models")


def peft() -> ModuleType:
    """Raises UsageError where it is not installed."""
    return _imported("peft", "LoRA")


def _imported(name: str, needed_for: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{needed_for} need the package {name}, which can't be imported ({error}): install it "
            'with pip install "rmt[hf]"'
        ) from None
