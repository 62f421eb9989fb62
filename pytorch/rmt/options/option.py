"""What an option is, and what an options dataclass checks of its values.

An option is a field of a frozen dataclass; the command line is made from these (command_line.py).
Every check raises UsageError, which names the option and the value.
"""

from collections.abc import Sequence
from dataclasses import field

from rmt.runtime.errors import UsageError


def option(default, meaning: str, choices: Sequence[str] | None = None):
    """A dataclass field that becomes a flag; choices lists the values allowed."""
    return field(default=default, metadata={"help": meaning, "choices": choices})


def default_of(config_class: type, name: str):
    """The default of an option."""
    return config_class.__dataclass_fields__[name].default


def from_json(value):
    """A value as it was before JSON made a list of a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_tuple(value) -> tuple:
    """Several values, or one where a record or a program gives it alone; "" is none."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(value for value in values if value != "")


def check_choices(config) -> None:
    for name, spec in config.__dataclass_fields__.items():
        choices, value = spec.metadata.get("choices"), getattr(config, name)
        if choices and value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_at_least(config, least, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not least <= value < float("inf"):  # also refuses nan
            raise UsageError(f"{name} must be {least} or more, but it is {value}")


def check_limit(config, name: str) -> None:
    value = getattr(config, name)
    if value < 1 and value != -1:
        raise UsageError(f"{name} must be -1 (no limit) or positive, but it is {value}")


def check_probabilities(config, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise UsageError(f"{name} must be at least 0 and below 1, but it is {value}")
