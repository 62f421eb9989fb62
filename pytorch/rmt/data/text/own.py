"""Your own text: UTF-8, by characters or by words."""

from pathlib import Path

from rmt.data.text import wt103
from rmt.data.text.dataset import Text, TextDataset, TextOptions
from rmt.data.text.encoding import split_characters
from rmt.data.text.files import characters, file_source, folder_parts, words
from rmt.runtime.errors import UsageError


def read(place: Path | None, options: TextOptions) -> Text:
    """A file, split 90/5/5 % by characters, or a folder with train.txt, valid.txt and test.txt.

    Words are what stands between white space, with <eos> after each line; the vocabulary holds the
    words that train has at least twice, and <unk> stands for all others.
    """
    if place is None:
        raise UsageError("the dataset text needs a UTF-8 file of yours: name it with --data")
    by_words = options.tokenizer == "word"
    if place.is_dir():
        parts = folder_parts(place)
    else:
        parts = split_characters(file_source(place).text(), between_words=by_words)
    return words(parts) if by_words else characters(parts)


# A large vocabulary of one's own is no other than WikiText's.
TEXT = TextDataset("text", read, takes=("tokenizer",), cutoffs=wt103.CUTOFFS)
