"""Text corpora as memory-mapped arrays of ids.

A corpus is encoded once, into a folder named after a hash of its text and options, and mapped into
memory from then on. The processing is that of Transformer-XL (Dai et al. 2019), because published
perplexities and bits per character depend on it.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rmt.data.metrics import Metric
from rmt.data.store import default_encoded_dir, opened_or_made, write_encoded
from rmt.data.text.dataset import SPLITS, Places, Text, TextDataset, TextOptions
from rmt.data.text.encoding import Tokenizer, UnknownSymbol
from rmt.data.text.sources import Part, named
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError

# A prediction needs a token to come from and one to go to.
MIN_TOKENS = 2


@dataclass(frozen=True, eq=False)
class Corpus:
    """Three streams of token ids.

    fingerprint: hexadecimal hash of the text and the options that shape its ids.
    splits: train, valid and test, each a read-only memory map [tokens] of the smallest of uint8,
        uint16 and int32 that holds every id.
    metric: what models of it are scored by.
    cutoffs: the usual adaptive-softmax cutoffs of this dataset that its vocabulary reaches.
    documents: of every split, the places of its documents' first tokens, beginning with 0; absent
        for a split that is one document.
    how_split: for people; "" where the dataset leaves no choice.
    """

    dataset: str
    fingerprint: str
    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    metric: Metric
    cutoffs: tuple[int, ...]
    documents: Mapping[str, Sequence[int]] = field(default_factory=dict)
    how_split: str = ""

    def documents_of(self, split: str) -> Sequence[int]:
        """The places of the first tokens of a split's documents."""
        return self.documents.get(split, (0,))


@dataclass(frozen=True)
class Inherited:
    """The vocabulary of a trained model, with which another text is to be read.

    owner: its run folder, for people. corpus: fingerprint of what it was trained on; None where
    that is not known. cutoffs: of its adaptive softmax, if it has one.
    """

    vocabulary: Vocabulary
    owner: str
    corpus: str | None = None
    cutoffs: tuple[int, ...] = ()


def load_corpus(
    dataset: TextDataset,
    data: Places = None,
    options: TextOptions | None = None,
    *,
    inherited: Inherited | None = None,
    encoded_dir: str | Path | None = None,
    progress: bool = True,
) -> Corpus:
    """The corpus, encoded now if it never was.

    data: as the dataset's read says; None takes the place where getdata.sh puts it.
    inherited: the vocabulary to encode it with; None makes one of the text.
    encoded_dir: where encoded corpora lie; None as default_encoded_dir.
    progress: show a bar on a terminal, one line elsewhere, while encoding.

    Raises UsageError for missing, unreadable or too short text, text that is not what the dataset
    says or that the vocabulary does not fit, and options that do not belong to the dataset.
    """
    options = options or TextOptions()
    text = dataset.find(data, options)
    fingerprint = _fingerprint(dataset.name, text)
    adopted = None
    # Of this very text it is the one that the text makes anyway.
    if inherited and inherited.corpus != fingerprint:
        adopted = _adopted(inherited, dataset.name, text.reading.tokenizer)
        fingerprint = _fingerprint_with(fingerprint, adopted)
    root = Path(encoded_dir) if encoded_dir is not None else default_encoded_dir()
    folder = root / f"{dataset.name}-{fingerprint[:16]}"
    try:
        vocabulary, splits, documents = opened_or_made(
            folder,
            fingerprint,
            lambda: _encode(dataset.name, text, adopted, folder, fingerprint, progress),
        )
    except UnknownSymbol as error:
        if adopted is None:
            raise
        raise UsageError(
            f"{error.place} is not in the vocabulary of {inherited.owner}: take it out, or choose "
            "another text"
        ) from None
    usual_cutoffs = dataset.usual_cutoffs(len(vocabulary))
    return Corpus(
        dataset=dataset.name,
        fingerprint=fingerprint,
        vocabulary=vocabulary,
        splits=splits,
        metric=text.reading.metric,
        cutoffs=inherited.cutoffs or usual_cutoffs if inherited else usual_cutoffs,
        documents=documents,
        how_split=text.how_split,
    )


def _fingerprint(dataset: str, text: Text) -> str:
    options = json.dumps([dataset, text.reading.options], sort_keys=True)
    digest = hashlib.sha256(options.encode())
    for split in SPLITS:
        for part in text.documents[split]:
            digest.update(f"\n{split} {len(part)}\n".encode())
            for block in part.blocks():
                digest.update(block)
    return digest.hexdigest()


def _fingerprint_with(fingerprint: str, vocabulary: Vocabulary) -> str:
    """Of a text with that fingerprint, when a vocabulary of another one shapes its ids."""
    parts = [fingerprint, vocabulary.symbols, vocabulary.unknown]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _adopted(inherited: Inherited, dataset: str, tokenizer: Tokenizer) -> Vocabulary:
    try:
        return tokenizer.adopted(inherited.vocabulary)
    except UsageError as error:
        raise UsageError(
            f"the vocabulary of {inherited.owner} does not fit dataset {dataset}: {error}"
        ) from None


def _encode(
    dataset: str,
    text: Text,
    adopted: Vocabulary | None,
    folder: Path,
    fingerprint: str,
    progress: bool,
) -> None:
    """With the adopted vocabulary, or with one of the text."""
    tokenizer = text.reading.tokenizer
    to_read = [*SPLITS, *(() if adopted else tokenizer.vocabulary_splits)]
    n_bytes = sum(len(part) for split in to_read for part in text.documents[split])
    bar_shown = progress and sys.stderr.isatty()
    if progress and not bar_shown:
        print(f"encoding {dataset} ({n_bytes / 1e6:.1f} MB to read) into {folder}", file=sys.stderr)
    with tqdm(
        total=n_bytes, desc=f"encoding {dataset}", unit="B", unit_scale=True, disable=not bar_shown
    ) as bar:
        documents = {
            split: [replace(part, on_read=bar.update) for part in parts]
            for split, parts in text.documents.items()
        }
        vocabulary = adopted or tokenizer.vocabulary(documents)
        starts: dict[str, list[int]] = {}
        write_encoded(
            folder,
            fingerprint,
            {"dataset": dataset, **text.reading.options},
            vocabulary,
            _encoded(documents, tokenizer, vocabulary, starts),
            starts,
        )


def _encoded(
    documents: Mapping[str, Sequence[Part]],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    starts: dict[str, list[int]],
) -> dict[str, Iterator[np.ndarray]]:
    """Ids of every split, block by block; where its documents start is put into starts by then."""

    def blocks(split: str) -> Iterator[np.ndarray]:
        n_tokens, starts[split] = 0, []
        for part in documents[split]:
            starts[split].append(n_tokens)
            for ids in tokenizer.encode(part, vocabulary):
                n_tokens += len(ids)
                yield ids
        if n_tokens < MIN_TOKENS:
            every = documents[split] or [part for parts in documents.values() for part in parts]
            raise UsageError(
                f"{named(every)} is too short: its {split} part holds {n_tokens} of at least "
                f"{MIN_TOKENS} tokens"
            )

    return {split: blocks(split) for split in SPLITS}
