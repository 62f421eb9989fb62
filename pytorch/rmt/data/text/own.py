"""Your own text: UTF-8, by characters or by words."""

from collections.abc import Sequence
from pathlib import Path

from rmt.data.text import pretrained, wt103
from rmt.data.text.dataset import OF_A_MODEL, Text, TextDataset, TextOptions, one_document_each
from rmt.data.text.files import documents, folder_parts, is_split
from rmt.data.text.reading import CHARACTERS, WORDS, Reading
from rmt.data.text.splitting import split_documents
from rmt.runtime.errors import UsageError

SPLIT = "90 %, 5 % and 5 % of the characters, in the order of the files"


def read(place: Path | None, options: TextOptions) -> Text:
    """As read_several, of one file or folder."""
    if place is None:
        raise UsageError("the dataset text needs a UTF-8 file of yours: name it with --data")
    return read_several((place,), options)


def read_several(places: Sequence[Path], options: TextOptions) -> Text:
    """Files, each a document, and folders: every file there whose name ends in .txt.

    They are split 90/5/5 % by characters, one after the other as if they were one text, unless
    valid and test are given apart, or the place is a folder with train.txt, valid.txt and test.txt.
    Words are what stands between white space, with <eos> after each line; the vocabulary holds the
    words that train has at least twice, and <unk> stands for all others.
    """
    own = reading(options)
    apart = (options.valid_data, options.test_data)
    if any(apart):
        if not all(apart):
            raise UsageError("valid_data and test_data are given together: name both, or neither")
        held_out = [documents([Path(place) for place in names]) for names in apart]
        splits = zip(("train", "valid", "test"), [documents(places), *held_out], strict=True)
        return Text({split: tuple(parts) for split, parts in splits}, own, "as given")
    if len(places) == 1 and places[0].is_dir() and is_split(places[0]):
        return Text(one_document_each(folder_parts(places[0])), own, "as given")
    return Text(split_documents(documents(places), between_words=own is not CHARACTERS), own, SPLIT)


def reading(options: TextOptions) -> Reading:
    if options.tokenizer.startswith(OF_A_MODEL):
        return pretrained.reading(options.tokenizer)
    return WORDS if options.tokenizer == "word" else CHARACTERS


TEXT = TextDataset(
    "text",
    read,
    reading,
    takes=("tokenizer", "valid_data", "test_data"),
    cutoffs=wt103.CUTOFFS,  # a large vocabulary of one's own is no other than WikiText's
    read_several=read_several,
)
