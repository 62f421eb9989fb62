"""Your own text: UTF-8, by characters or by words."""

from pathlib import Path

from rmt.data.text import wt103
from rmt.data.text.dataset import Text, TextDataset, TextOptions
from rmt.data.text.encoding import split_characters
from rmt.data.text.files import file_source, folder_parts
from rmt.data.text.reading import CHARACTERS, WORDS, Reading
from rmt.runtime.errors import UsageError


def read(place: Path | None, options: TextOptions) -> Text:
    """A file, split 90/5/5 % by characters, or a folder with train.txt, valid.txt and test.txt.

    Words are what stands between white space, with <eos> after each line; the vocabulary holds the
    words that train has at least twice, and <unk> stands for all others.
    """
    if place is None:
        raise UsageError("the dataset text needs a UTF-8 file of yours: name it with --data")
    own = reading(options)
    if place.is_dir():
        parts = folder_parts(place)
    else:
        parts = split_characters(file_source(place).text(), between_words=own is WORDS)
    return Text(parts, own)


def reading(options: TextOptions) -> Reading:
    return WORDS if options.tokenizer == "word" else CHARACTERS


# A large vocabulary of one's own is no other than WikiText's.
TEXT = TextDataset("text", read, reading, takes=("tokenizer",), cutoffs=wt103.CUTOFFS)
