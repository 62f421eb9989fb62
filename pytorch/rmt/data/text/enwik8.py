"""enwik8: the first 100,000,000 bytes of a Wikipedia dump (Mahoney 2011), byte by byte."""

from functools import partial
from pathlib import Path

from rmt.data.metrics import BITS_PER_CHARACTER
from rmt.data.text.dataset import Mini, Text, TextDataset, TextOptions, one_document_each
from rmt.data.text.encoding import NEWLINE, CodeTokenizer, read_bytes
from rmt.data.text.files import file_source
from rmt.data.text.reading import Reading
from rmt.data.text.sources import Part, Source
from rmt.data.text.splitting import split_bytes

NAME, MINI_FOLDER = "enwik8", "enwik8-head"
N_MINI_BYTES = 4_000_000
WITH_NEWLINES = CodeTokenizer(read_bytes, symbol=str, code=int)
WITHOUT_NEWLINES = CodeTokenizer(partial(read_bytes, without=NEWLINE), symbol=str, code=int)


def read(place: Path, options: TextOptions) -> Text:
    """A raw file, or a folder that holds enwik8; split 90/5/5 % in order."""
    source = file_source(place / NAME if place.is_dir() else place, download=NAME)
    return Text(one_document_each(split_bytes(source, source.size())), reading(options))


def reading(options: TextOptions) -> Reading:
    """Bytes. The published preprocessing loses newlines; options.keep_newlines keeps them."""
    return Reading(
        WITH_NEWLINES if options.keep_newlines else WITHOUT_NEWLINES,
        BITS_PER_CHARACTER,
        {"keep_newlines": options.keep_newlines},
        whole=all_bytes,
    )


def all_bytes(source: Source) -> Part:
    return Part(source, 0, source.size())


def make_mini(folder: Path) -> dict[str, bytes]:
    """The beginning of folder/enwik8, by the name of its file."""
    with (folder / NAME).open("rb") as file:
        return {MINI_FOLDER: file.read(N_MINI_BYTES)}


ENWIK8 = TextDataset(
    NAME,
    read,
    reading,
    folder=NAME,
    takes=("keep_newlines",),
    published_evaluation={"base": (80, 2100, 820), "large": (128, 3800, 1000)},
    mini=Mini(
        MINI_FOLDER,
        make_mini,
        {MINI_FOLDER: "9f9ca3a41e2b87a0268d00380577e2c308e07959b22a94c8d7b1e8901bdefc37"},
    ),
)
