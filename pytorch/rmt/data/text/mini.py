"""Make the texts of mini scale from the published ones: python -m rmt.data.mini enwik8 wt103

enwik8  its first 4,000,000 bytes: DATA_DIR/enwik8-head
wt103   its 120 articles for validation and test, split anew: DATA_DIR/wt103-mini
"""

import hashlib
import random
import re
from pathlib import Path

from rmt.data.text.corpora import DEFAULT_PLACES, MINI_PLACES
from rmt.options.command_line import Parser
from rmt.runs.run_folder import write_bytes
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root

N_BYTES = 4_000_000
N_HELD_OUT = 8  # articles each for validation and test
TITLE = re.compile(r"^(?= = [^=]+ = \n \n)", re.MULTILINE)
# SHA-256 of what is made, with which the logged runs were trained.
SHA256 = {
    "enwik8-head": "9f9ca3a41e2b87a0268d00380577e2c308e07959b22a94c8d7b1e8901bdefc37",
    "wt103-mini/train.txt": "f21899c3ce973f38c2b5f465bfc5a994ba4cc002fe583e98582a8485e5c6eb7d",
    "wt103-mini/valid.txt": "c30f8cb3b512b0a9f5d7a93e13316ed7959e0046c7d42e0d38e0e4da404fff6e",
    "wt103-mini/test.txt": "1c190e27081223c4b6075f1fa6c70dab1d821335d25c3c6dd5e38b2eb9c44976",
}


def enwik8_head(folder: Path) -> dict[str, bytes]:
    """The beginning of folder/enwik8, by the name of its file."""
    with (folder / "enwik8").open("rb") as file:
        return {MINI_PLACES["enwik8"]: file.read(N_BYTES)}


def wt103_mini(folder: Path) -> dict[str, bytes]:
    """The articles of folder/test.txt and valid.txt in a random but fixed order, cut into three
    splits; words that the training split lacks are <unk>. By the names of their files."""
    articles = [
        article
        for name in ("test.txt", "valid.txt")
        # Damaged bytes are let through: the checksum tells.
        for article in split_articles((folder / name).read_text("utf-8", "replace") + "\n")
    ]
    random.Random(0).shuffle(articles)
    splits = {
        "valid": articles[:N_HELD_OUT],
        "test": articles[N_HELD_OUT : 2 * N_HELD_OUT],
        "train": articles[2 * N_HELD_OUT :],
    }
    texts = {name: "".join(own) for name, own in splits.items()}
    known = set(texts["train"].split())
    return {
        f"{MINI_PLACES['wt103']}/{name}.txt": with_known_words(text, known).encode()
        for name, text in texts.items()
    }


def split_articles(text: str) -> list[str]:
    """Cut before every title (" = Title = "); what precedes the first belongs to its article."""
    before, *articles = TITLE.split(text)
    return [before + articles[0], *articles[1:]] if articles else []


def with_known_words(text: str, known: set[str]) -> str:
    """The text with <unk> for all words but the known ones; white space stays as it is."""
    return re.sub(r"\S+", lambda word: word[0] if word[0] in known else "<unk>", text)


MAKERS = {"enwik8": enwik8_head, "wt103": wt103_mini}


def make(name: str, data_dir: Path) -> list[Path]:
    """Make one of MAKERS in data_dir from what getdata.sh has put there; returns the files.

    Raises UsageError where that is missing or another version.
    """
    folder = data_dir / DEFAULT_PLACES[name]
    try:
        files = MAKERS[name](folder)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename} is missing: run bash getdata.sh {name}") from None
    for file, content in files.items():
        if hashlib.sha256(content).hexdigest() != SHA256[file]:
            raise UsageError(
                f"{folder} doesn't hold the published files, for {file} made of it is "
                f"another than that of the logged runs: fetch it anew with bash getdata.sh {name}"
            )
    for file, content in files.items():
        (data_dir / file).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(data_dir / file, content)
    return [data_dir / file for file in files]


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.data.mini", description=__doc__)
    parser.add_argument("names", nargs="+", choices=MAKERS, metavar="NAME", help=", ".join(MAKERS))
    parser.add_argument("--data_dir", type=Path, default=project_root() / "data")
    options = parser.parse(argv)
    for name in options["names"]:
        print(*make(name, options["data_dir"]), sep="\n")


if __name__ == "__main__":
    run_program(main)
