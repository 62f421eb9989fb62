"""Command lines made from options dataclasses (option.py)."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_args

from rmt.options.option import from_json
from rmt.runtime.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser that takes - and _ alike and answers errors with one sentence."""

    def __init__(self, **kwargs):
        # Descriptions are docstrings, which have their own lines.
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=formatter, **kwargs)
        self.refusals: dict[str, str] = {}

    def add_options(
        self,
        config_class: type,
        only: Sequence[str] | None = None,
        *,
        choices: Mapping[str, Sequence[str]] | None = None,
        meanings: Mapping[str, str] | None = None,
        with_defaults: bool = True,
    ) -> None:
        """Add a flag for every option of a dataclass, and --no_NAME for those that are on or off.

        only: the names of those to add. choices, meanings: of options whose dataclass leaves them
        to the program. with_defaults: whether the help names them, which may be other ones in the
        program. Options that another group has added already are passed over.
        Flags not given are absent from the result, so that a caller can tell the default from a
        value that happens to equal it.
        """
        group = self.add_argument_group(config_class.__name__)
        for spec in fields(config_class):
            meaning = (meanings or {}).get(spec.name, spec.metadata.get("help"))
            left_out = only is not None and spec.name not in only
            if meaning is None or left_out or f"--{spec.name}" in self._option_string_actions:
                continue
            if with_defaults and not isinstance(spec.default, bool | tuple):
                meaning += f" (default: {spec.default!r})"
            settings = {"help": meaning.replace("%", "%%"), "default": argparse.SUPPRESS}
            if spec.type is bool:
                settings["action"] = "store_true"
                # So that a flag that a run script sets can be taken back.
                off = {"dest": spec.name, "default": argparse.SUPPRESS, "action": "store_false"}
                group.add_argument(f"--no_{spec.name}", **off, help=argparse.SUPPRESS)
            elif get_args(spec.type):  # tuple[int, ...] or, of files, tuple[str, ...]
                kind = get_args(spec.type)[0]
                settings |= {"nargs": "+", "type": kind, "metavar": "FILE" if kind is str else "N"}
            else:
                allowed = (choices or {}).get(spec.name, spec.metadata.get("choices"))
                settings |= {"type": spec.type, "choices": allowed}
            group.add_argument(f"--{spec.name}", **settings)

    def refuse(self, sentences: Mapping[str, str]) -> None:
        """What to say of flags that are not here, by their names."""
        self.refusals |= sentences

    def parse(self, argv: Sequence[str]) -> dict:
        """The flags that were given. Raises UsageError for what is unknown or impossible."""
        known, rest = self.parse_known_args([with_underscores(word) for word in argv])
        if rest:
            name = rest[0].lstrip("-").split("=")[0].removeprefix("no_")
            unknown = f"there is no option {rest[0]}; --help lists all options"
            raise UsageError(self.refusals.get(name, unknown))
        return vars(known)

    def error(self, message: str):
        raise UsageError(f"{message}; --help lists all options")


def with_underscores(word: str) -> str:
    """The word with _ for - in the name of a flag."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def value_of(argv: Sequence[str], name: str, default: str) -> str:
    """The last value that a command line gives to a flag, before the line is parsed as a whole."""
    found = default
    for i, word in enumerate(argv):
        flag, equals, value = with_underscores(word).partition("=")
        if flag == f"--{name}" and (equals or i + 1 < len(argv)):
            found = value if equals else argv[i + 1]
    return found


def flags_in(argv: Sequence[str]) -> set[str]:
    """The names of the flags of a command line, before it is parsed."""
    words = (with_underscores(word).partition("=")[0] for word in argv)
    return {word.removeprefix("--") for word in words if word.startswith("--")}


def command_line(options: Mapping) -> list[str]:
    """Options as the words of a command line, which a process is started with."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        else:
            words += [f"--{name}", *map(str, values)]
    return words


def pick(config_class: type, options: Mapping) -> dict:
    """Those of the options that are fields of a config class."""
    names = {spec.name for spec in fields(config_class)}
    return {name: from_json(value) for name, value in options.items() if name in names}
