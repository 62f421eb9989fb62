"""text8: 100,000,000 characters of Wikipedia, letters and spaces alone (Mahoney 2011)."""

from dataclasses import replace
from pathlib import Path

from rmt.data.metrics import BITS_PER_CHARACTER
from rmt.data.text.dataset import Text, TextDataset, TextOptions, one_document_each
from rmt.data.text.encoding import CodeTokenizer, read_text8
from rmt.data.text.files import file_source
from rmt.data.text.reading import Reading
from rmt.data.text.sources import Part, Source
from rmt.data.text.splitting import split_bytes

NAME = "text8"


def read(place: Path, options: TextOptions) -> Text:
    """A raw file, or a folder that holds text8: a-z and space (as _), split 90/5/5 %."""
    source = file_source(place / NAME if place.is_dir() else place, download=NAME)
    whole = without_last_newline(source)
    parts = {split: _stripped(part) for split, part in split_bytes(source, len(whole)).items()}
    return Text(one_document_each(parts), READING)


def without_last_newline(source: Source) -> Part:
    """An editor's newline is no part of text8."""
    size = source.size()
    tail = b"".join(source.blocks(max(0, size - 2), size))
    return Part(source, 0, size - len(tail) + len(tail.rstrip(b"\r\n")))


def _stripped(part: Part) -> Part:
    """Without the spaces at both ends."""
    start, stop = part.start, part.stop
    while start < stop and next(part.source.blocks(start, start + 1)) == b" ":
        start += 1
    while start < stop and next(part.source.blocks(stop - 1, stop)) == b" ":
        stop -= 1
    return replace(part, start=start, stop=stop)


READING = Reading(
    CodeTokenizer(
        read_text8,
        symbol=lambda code: chr(code).replace(" ", "_"),
        code=lambda symbol: ord(symbol.replace("_", " ")),
    ),
    BITS_PER_CHARACTER,
    {},
    whole=without_last_newline,
)


def reading(options: TextOptions) -> Reading:
    return READING


TEXT8 = TextDataset(
    NAME,
    read,
    reading,
    folder=NAME,
    published_evaluation={"base": (80, 2100, 820), "large": (128, 3800, 1000)},
)
