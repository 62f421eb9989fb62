"""Convert weights to and from the names that other programs give them.

    python -m rmt.interop CHECKPOINT OUT

converts a file of tensors either way, told apart by its names; .safetensors is read and written
as such, anything else as a torch file. Nothing is unpickled but tensors: a whole model saved by
the published code (model.pt) must first be turned into its state_dict with that code.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from rmt.models import registry
from rmt.options.command_line import Parser
from rmt.runs.checkpoint import read_weights
from rmt.runtime.errors import UsageError, run_program


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors without executing a pickle."""
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except Exception as error:  # torch and safetensors raise many kinds for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{path} is not a file of tensors that can be read safely ({reason})"
        ) from None
    if not (isinstance(loaded, dict) and all(isinstance(t, Tensor) for t in loaded.values())):
        raise UsageError(f"{path} is not a state_dict: a mapping from names to tensors")
    return loaded


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ours under published names, published ones under ours.

    Raises UsageError where they are neither, in the words of the first family that was asked.
    """
    families = dict.fromkeys(e.published_names for e in registry.entries().values())
    refusals = []
    for family in filter(None, families):
        names = importlib.import_module(family)
        try:
            if names.are_ours(weights):
                return names.to_published_names(weights)
            return names.from_published_names(weights)
        except UsageError as error:
            refusals.append(error)
    raise refusals[0]


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.interop", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="tensors under either names")
    parser.add_argument("out", metavar="OUT", help="where to write them under the other names")
    options = parser.parse(argv)
    source, target = Path(options["checkpoint"]), Path(options["out"])
    if target.exists():
        raise UsageError(f"{target} exists already: choose another name")
    weights = read_tensors(source)
    converted = {name: tensor.clone().contiguous() for name, tensor in convert(weights).items()}
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.suffix == ".safetensors":
            safetensors.torch.save_file(converted, unfinished)
        else:
            torch.save(converted, unfinished)
        os.replace(unfinished, target)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(f"{target} can't be written ({error})") from None
    print(f"{target}: {len(converted)} tensors")


if __name__ == "__main__":
    run_program(main)
