"""A dataset of text in one file: the alphabet, over and over.

tests/data/test_registry.py adds it.
"""

import io
import string
from pathlib import Path

from rmt.data.text.dataset import Text, TextDataset, TextOptions
from rmt.data.text.files import characters
from rmt.data.text.sources import Source
from rmt.data.text.splitting import split_characters


def read(place: Path | None, options: TextOptions) -> Text:
    source = Source("the alphabet", lambda: io.BytesIO(string.ascii_lowercase.encode() * 100))
    return characters(split_characters(source.text()))


ALPHABET = TextDataset("alphabet", read, has_place=False)
