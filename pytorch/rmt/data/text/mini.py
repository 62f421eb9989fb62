"""Make the texts of mini scale from the published ones: python -m rmt.data.text.mini enwik8 wt103

enwik8  its first 4,000,000 bytes: DATA_DIR/enwik8-head
wt103   its 120 articles for validation and test, split anew: DATA_DIR/wt103-mini
"""

import hashlib
from pathlib import Path

from rmt.data.registry import datasets
from rmt.data.text.dataset import TextDataset
from rmt.options.command_line import Parser
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root, write_bytes


def makers() -> dict[str, TextDataset]:
    """The datasets that have a small version."""
    texts = (own for own in datasets().values() if not own.is_task)
    return {own.name: own for own in texts if own.mini}


def make(dataset: TextDataset, data_dir: Path) -> list[Path]:
    """Make a small version in data_dir from what getdata.sh has put there; returns the files.

    Raises UsageError where that is missing or another version.
    """
    folder = data_dir / dataset.folder
    try:
        files = dataset.mini.make(folder)
    except FileNotFoundError as error:
        raise UsageError(
            f"{error.filename} is missing: run bash getdata.sh {dataset.name}"
        ) from None
    for file, content in files.items():
        if hashlib.sha256(content).hexdigest() != dataset.mini.sha256[file]:
            raise UsageError(
                f"{folder} doesn't hold the published files, for {file} made of it is another than "
                f"that of the logged runs: fetch it anew with bash getdata.sh {dataset.name}"
            )
    for file, content in files.items():
        (data_dir / file).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(data_dir / file, content)
    return [data_dir / file for file in files]


def main(argv: list[str]) -> None:
    known = makers()
    parser = Parser(prog="python -m rmt.data.text.mini", description=__doc__)
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--data_dir", type=Path, default=project_root() / "data")
    options = parser.parse(argv)
    for name in options["names"]:
        print(*make(known[name], options["data_dir"]), sep="\n")


if __name__ == "__main__":
    run_program(main)
