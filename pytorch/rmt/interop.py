"""Bring in published weights, as a run folder that the other programs take:

    python -m rmt.interop CHECKPOINT RUN [--config FILE] [--vocabulary FILE]

CHECKPOINT is a file of the tensors of a model of the Transformer-XL code or of LM-RMT, or a folder
that Hugging Face's transfo-xl was saved to (config.json, model.safetensors or pytorch_model.bin).
The run can be scored, can generate and be trained on; without a vocabulary it takes ids alone.

Where CHECKPOINT is a run folder of ours, RUN is its best model alone, to hand on: without what only
training needs, with --bf16 rounded to half the size.

A second name that ends in .safetensors, .bin, .pt or .pth is a file instead: the tensors of
CHECKPOINT under our names if they have published ones, and the other way round.

Nothing is unpickled but tensors: a whole model saved by the published code (model.pt) must first be
turned into its state_dict with that code.
"""

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path

from rmt.data import registry as data
from rmt.models import registry
from rmt.options.command_line import Parser
from rmt.options.training import TrainConfig
from rmt.runs.conversion import convert_checkpoint, convert_file, file_of_tensors
from rmt.runs.hand_on import hand_on, is_run
from rmt.runtime.errors import UsageError, run_program

TENSOR_FILES = (".safetensors", ".bin", ".pt", ".pth")
# Of training, what other programs ask about a run's text.
OF_TEXT = ("dataset", "data", "tokenizer", "keep_newlines", "tgt_len", "eval_tgt_len")


def main(argv: list[str]) -> None:
    options = parse(argv)
    source, target = Path(options.pop("checkpoint")), Path(options.pop("run"))
    if target.exists():
        raise UsageError(f"{target} exists already: choose another name")
    in_bf16 = options.pop("bf16", False)
    if is_run(source) and target.suffix not in TENSOR_FILES:
        _refuse(options, f"for published weights, and {source} is a run of ours")
        print(f"{target}: {hand_on(source, target, in_bf16=in_bf16)}")
        return
    if in_bf16:
        raise UsageError(f"--bf16 is for run folders of ours, and {source} is none: leave it out")
    if target.suffix not in TENSOR_FILES:
        print(f"{target}: {convert_checkpoint(source, target, options)}")
        return
    _refuse(options, f"for run folders, and {target} is a file")
    print(f"{target}: {convert_file(file_of_tensors(source), target)} tensors")


def _refuse(options: Mapping, reason: str) -> None:
    if options:
        raise UsageError(f"--{next(iter(options))} is {reason}: leave it out")


def parse(argv: list[str]) -> dict:
    """The options that were given."""
    parser = Parser(prog="python -m rmt.interop", description=__doc__)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="published weights, or a run folder of ours"
    )
    parser.add_argument("run", metavar="RUN", help="what to write")
    absent = {"default": argparse.SUPPRESS, "metavar": "FILE"}
    parser.add_argument("--config", **absent, help="options that CHECKPOINT was made with, as JSON")
    parser.add_argument(
        "--vocabulary", **absent, help="a symbol a line in the order of the ids, or vocabulary.json"
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        default=argparse.SUPPRESS,
        help="round the weights that are handed on, which halves them",
    )
    texts = [name for name, dataset in data.datasets().items() if not dataset.is_task]
    choices = {"dataset": texts, "model": tuple(registry.entries())}
    for entry in registry.entries().values():
        if entry.published_options:
            untold = importlib.import_module(entry.published_options).UNTOLD
            parser.add_options(entry.options, only=untold, choices=choices, with_defaults=False)
    parser.add_options(TrainConfig, only=OF_TEXT, choices=choices)
    return parser.parse(argv)


if __name__ == "__main__":
    run_program(main)
