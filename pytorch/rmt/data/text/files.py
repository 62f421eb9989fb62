"""Text files as sources of bytes, and how they are split."""

from collections.abc import Mapping
from pathlib import Path

from rmt.data.text.dataset import SPLITS, Text
from rmt.data.text.encoding import Part, Source
from rmt.data.text.reading import CHARACTERS
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
    parts = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        if not path.exists() and (folder / f"wiki.{split}.tokens").exists():
            path = folder / f"wiki.{split}.tokens"
        parts[split] = file_source(path, download).text()
    return parts


def characters(parts: Mapping[str, Part]) -> Text:
    """UTF-8 text, one symbol per character."""
    return Text(parts, CHARACTERS)
