"""Text files as sources of bytes, and how they are split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rmt.data.text.dataset import SPLITS, Text, one_document_each
from rmt.data.text.reading import CHARACTERS
from rmt.data.text.sources import Part, Source
from rmt.runtime.errors import UsageError


def file_source(path: Path, download: str | None = None) -> Source:
    """A file with something in it; `download` is what getdata.sh would fetch."""
    if not path.is_file():
        advice = f": run `bash getdata.sh {download}`" if download else ""
        raise UsageError(f"there is no file {path}{advice}")
    source = Source.from_file(path)
    if source.size() == 0:
        raise UsageError(f"{path} is empty")
    return source


def folder_parts(folder: Path, download: str | None = None) -> dict[str, Part]:
    """Three files of UTF-8 text, each a whole split; `download` as for file_source."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file; give the folder that holds train.txt, valid.txt and test.txt"
        )
    return {split: file_source(_split_file(folder, split), download).text() for split in SPLITS}


def is_split(folder: Path) -> bool:
    """Whether any split of a text lies in a folder as a file of its own."""
    return any(_split_file(folder, split).exists() for split in SPLITS)


def _split_file(folder: Path, split: str) -> Path:
    path, published = folder / f"{split}.txt", folder / f"wiki.{split}.tokens"
    return published if published.exists() and not path.exists() else path


def documents(places: Sequence[Path]) -> list[Part]:
    """The files, and of folders those whose names end in .txt, sorted by name; each a document.

    Raises UsageError for a folder without any, or that holds splits, and for an empty file.
    """
    return [file_source(path).text() for place in places for path in _files(place)]


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    if is_split(place):
        raise UsageError(f"{place} holds a text that is split already: name it alone, with --data")
    found = sorted(path for path in place.glob("*.txt") if path.is_file())
    if not found:
        raise UsageError(
            f"{place} holds no text: put files there whose names end in .txt, or name files"
        )
    return found


def characters(parts: Mapping[str, Part]) -> Text:
    """UTF-8 text, one symbol per character."""
    return Text(one_document_each(parts), CHARACTERS)
