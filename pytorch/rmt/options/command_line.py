"""Command lines made from the option dataclasses of config.py."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from rmt.runtime.errors import UsageError

# Flags of the Transformer-XL code base that are gone, with what to do instead.
DROPPED = {
    "clip_nonemb": "gradients of all parameters are clipped together (--clip)",
    "emb_init": "embeddings start like the other weights (--init)",
    "emb_init_range": "embeddings start like the other weights (--init_range)",
    "finetune_v2": "continue a run with --restart_dir",
    "finetune_v3": "continue a run with --restart_dir",
    "sample_softmax": "the adaptive softmax serves large vocabularies (--adaptive)",
    "ext_len": "it changes no published number; use mem_len",
    "attn_type": "only Transformer-XL's own attention (type 0) is here",
    "gpu0_bsz": "every GPU has a process of its own and an equal share (--multi_gpu)",
    "div_val": "all clusters have embeddings of one size, as in the paper",
    "static_loss_scale": "--precision fp16 finds the loss scale itself",
    "dynamic_loss_scale": "--precision fp16 finds the loss scale itself",
    "num_mem_tokens": "memory tokens are --mem_len with --model rmt, mt or trxl_rmt",
    "mem_backprop_depth": "it is --bptt_unrolls here",
    "mem_at_end": "--model rmt writes memory at the end of a segment, --model mt does not",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that takes - and _ alike and answers errors with one sentence."""

    def __init__(self, **kwargs):
        # Descriptions are docstrings, which have their own lines.
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=formatter, **kwargs)

    def add_options(self, config_class: type, only: Sequence[str] | None = None) -> None:
        """Add a flag for every option of a dataclass, and --no_NAME for those that are on or off.

        only: the names of those to add.
        Flags not given are absent from the result, so that a caller can tell the default from a
        value that happens to equal it.
        """
        group = self.add_argument_group(config_class.__name__)
        for spec in fields(config_class):
            meaning = spec.metadata.get("help")
            if meaning is None or (only is not None and spec.name not in only):
                continue
            if not isinstance(spec.default, bool | tuple):
                meaning += f" (default: {spec.default!r})"
            settings = {"help": meaning.replace("%", "%%"), "default": argparse.SUPPRESS}
            if spec.type is bool:
                settings["action"] = "store_true"
                # So that a flag that a run script sets can be taken back.
                off = {"dest": spec.name, "default": argparse.SUPPRESS, "action": "store_false"}
                group.add_argument(f"--no_{spec.name}", **off, help=argparse.SUPPRESS)
            elif get_args(spec.type):  # tuple[int, ...]
                settings |= {"nargs": "+", "type": get_args(spec.type)[0], "metavar": "N"}
            else:
                settings |= {"type": spec.type, "choices": spec.metadata.get("choices")}
            group.add_argument(f"--{spec.name}", **settings)

    def parse(self, argv: Sequence[str]) -> dict:
        """The flags that were given. Raises UsageError for what is unknown or impossible."""
        argv = [_with_underscores(word) for word in argv]
        known, rest = self.parse_known_args(argv)
        if rest:
            name = rest[0].lstrip("-").split("=")[0]
            why = f": {DROPPED[name]}" if name in DROPPED else "; --help lists all options"
            raise UsageError(f"there is no option {rest[0]}{why}")
        return vars(known)

    def error(self, message: str):
        raise UsageError(f"{message}; --help lists all options")


def _with_underscores(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def pick(config_class: type, options: dict) -> dict:
    """Those of the options that are fields of a config class."""
    names = {spec.name for spec in fields(config_class)}
    return {name: _value(value) for name, value in options.items() if name in names}


def _value(value):
    return tuple(value) if isinstance(value, list) else value
