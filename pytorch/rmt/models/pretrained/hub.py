"""The libraries of pretrained models, imported when something asks for them and nowhere else."""

from types import ModuleType

from rmt.runtime.optional import imported


def transformers() -> ModuleType:
    """Raises UsageError where it is not installed."""
    return imported("transformers", "pretrained models")


def peft() -> ModuleType:
    """Raises UsageError where it is not installed."""
    return imported("peft", "adapters (LoRA)")
