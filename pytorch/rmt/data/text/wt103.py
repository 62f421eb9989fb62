"""WikiText-103: words, split as published (Merity et al. 2017), encoded as Transformer-XL does."""

import random
import re
from pathlib import Path

from rmt.data.metrics import PERPLEXITY
from rmt.data.text.dataset import Mini, Text, TextDataset, TextOptions, one_document_each
from rmt.data.text.encoding import WordTokenizer
from rmt.data.text.files import folder_parts
from rmt.data.text.reading import Reading
from rmt.data.vocabulary import UNKNOWN

NAME, FOLDER, MINI_FOLDER = "wt103", "wikitext-103", "wt103-mini"
# Transformer-XL: the words before the first cutoff form the head of the adaptive softmax.
CUTOFFS = (20_000, 40_000, 200_000)
N_HELD_OUT = 8  # articles each for validation and test of the small version
TITLE = re.compile(r"^(?= = [^=]+ = \n \n)", re.MULTILINE)


def read(place: Path, options: TextOptions) -> Text:
    """A folder with train.txt, valid.txt, test.txt (or wiki.train.tokens, …)."""
    return Text(one_document_each(folder_parts(place, download=NAME)), READING)


def make_mini(folder: Path) -> dict[str, bytes]:
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
        f"{MINI_FOLDER}/{name}.txt": with_known_words(text, known).encode()
        for name, text in texts.items()
    }


def split_articles(text: str) -> list[str]:
    """Cut before every title (" = Title = "); what precedes the first belongs to its article."""
    before, *articles = TITLE.split(text)
    return [before + articles[0], *articles[1:]] if articles else []


def with_known_words(text: str, known: set[str]) -> str:
    """The text with <unk> for all words but the known ones; white space stays as it is."""
    return re.sub(r"\S+", lambda word: word[0] if word[0] in known else UNKNOWN, text)


READING = Reading(WordTokenizer(), PERPLEXITY, {})


def reading(options: TextOptions) -> Reading:
    return READING


WT103 = TextDataset(
    NAME,
    read,
    reading,
    folder=FOLDER,
    cutoffs=CUTOFFS,
    published_evaluation={"base": (64, 640, 400), "large": (128, 1600, 1000)},
    mini=Mini(
        MINI_FOLDER,
        make_mini,
        {
            f"{MINI_FOLDER}/train.txt": (
                "f21899c3ce973f38c2b5f465bfc5a994ba4cc002fe583e98582a8485e5c6eb7d"
            ),
            f"{MINI_FOLDER}/valid.txt": (
                "c30f8cb3b512b0a9f5d7a93e13316ed7959e0046c7d42e0d38e0e4da404fff6e"
            ),
            f"{MINI_FOLDER}/test.txt": (
                "1c190e27081223c4b6075f1fa6c70dab1d821335d25c3c6dd5e38b2eb9c44976"
            ),
        },
    ),
)
