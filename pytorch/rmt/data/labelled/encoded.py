"""Texts with labels as ids, encoded once and kept as other data is.

The vocabulary is the tokenizer's own, and ends with labels (data/labels.py).
"""

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.data.labelled.files import Labelled
from rmt.data.labels import first_label, label_symbols, labels_of, padding_id
from rmt.data.store import default_encoded_dir, opened_or_made, write_encoded
from rmt.data.text.corpora import Inherited
from rmt.data.text.encoding import id_type
from rmt.data.text.pretrained import PretrainedTokenizer
from rmt.data.text.reading import Reading
from rmt.data.text.sources import Part, Source
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError

FORMAT = 1  # goes up when the same texts and options give other ids


@dataclass(frozen=True, eq=False)
class Split:
    """ids: of all texts, one after the other. starts: of each its first one's place, [N], and the
    end. labels: the number of each one's label, [N]."""

    ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """In tokens, [N]."""
        return np.diff(self.starts)

    def text(self, i: int, most: int | None = None) -> np.ndarray:
        """The ids of a text, or its first `most`."""
        ids = self.ids[self.starts[i] : self.starts[i + 1]]
        return ids if most is None else ids[:most]


@dataclass(frozen=True, eq=False)
class LabelledData:
    """fingerprint: hexadecimal hash of the texts and what shapes their ids. labels: in order."""

    fingerprint: str
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    splits: Mapping[str, Split]

    @property
    def first_label(self) -> int:
        """The id of the first label's symbol."""
        return first_label(len(self.vocabulary), len(self.labels))

    @property
    def padding(self) -> int:
        return padding_id(len(self.vocabulary), len(self.labels))


def encode(
    name: str,
    texts: Mapping[str, Sequence[Labelled]],
    reading: Reading,
    *,
    inherited: Inherited | None = None,
    encoded_dir: str | Path | None = None,
    progress: bool = True,
) -> LabelledData:
    """The texts of every split, encoded now if they never were.

    name: of the dataset. inherited: the vocabulary, with its labels, of a trained model. Raises
    UsageError for a text or a label that it does not have.
    """
    if inherited:
        vocabulary, labels = inherited.vocabulary, labels_of(inherited.vocabulary)
        plain = reading.tokenizer.adopted(_plain(vocabulary, labels))
    else:
        labels = tuple(sorted({text.label for text in texts["train"]}))
        plain = reading.tokenizer.vocabulary({split: _parts(own) for split, own in texts.items()})
        special = label_symbols(labels)
        if taken := [symbol for symbol in special if symbol in plain]:
            raise UsageError(
                f"a text of {name} has the word {taken[0]}, which stands for something else here: "
                "write it in another way"
            )
        vocabulary = Vocabulary([*plain.symbols, *special], unknown=plain.unknown)
    numbers = {label: i for i, label in enumerate(labels)}
    for text in (text for own in texts.values() for text in own):
        if text.label not in numbers:
            raise UsageError(
                f"{text.name} has the label {text.label}, and the model knows only "
                f"{', '.join(labels)}"
            )
    fingerprint = _fingerprint(texts, reading, vocabulary)
    folder = Path(encoded_dir or default_encoded_dir()) / f"{name}-{fingerprint[:16]}"

    def make() -> None:
        if progress:
            n_texts = sum(map(len, texts.values()))
            print(f"encoding {name} ({n_texts:,} texts) into {folder}", file=sys.stderr)
        starts: dict[str, list[int]] = {split: [] for split in texts}
        dtype = id_type(len(vocabulary))
        blocks = {
            split: _blocks(own, reading, plain, dtype, starts[split])
            for split, own in texts.items()
        }
        write_encoded(folder, fingerprint, reading.options, vocabulary, blocks, starts)

    _, arrays, starts = opened_or_made(folder, fingerprint, make)
    splits = {
        split: Split(
            arrays[split],
            np.array([*starts.get(split, [0]), len(arrays[split])]),
            np.array([numbers[text.label] for text in own]),
        )
        for split, own in texts.items()
    }
    return LabelledData(fingerprint, vocabulary, labels, splits)


def _plain(vocabulary: Vocabulary, labels: Sequence[str]) -> Vocabulary:
    """The tokenizer's part of a vocabulary."""
    return Vocabulary(vocabulary.symbols[: -len(labels) - 1], unknown=vocabulary.unknown)


def _part(text: Labelled) -> Part:
    return Source(text.name, lambda: io.BytesIO(text.text.encode())).text()


def _parts(texts: Sequence[Labelled]) -> tuple[Part, ...]:
    return tuple(map(_part, texts))


def _fingerprint(
    texts: Mapping[str, Sequence[Labelled]], reading: Reading, vocabulary: Vocabulary
) -> str:
    facts = [FORMAT, dict(reading.options), vocabulary.symbols, vocabulary.unknown]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for split, own in texts.items():
        digest.update(f"\n{split} {len(own)}\n".encode())
        for text in own:
            digest.update(json.dumps([text.text, text.label]).encode())
    return digest.hexdigest()


def _blocks(
    texts: Sequence[Labelled],
    reading: Reading,
    vocabulary: Vocabulary,
    dtype: np.dtype,
    starts: list[int],
) -> Iterator[np.ndarray]:
    """The ids of every text; the places of their first tokens are put into starts."""
    place = 0
    for text in texts:
        if isinstance(reading.tokenizer, PretrainedTokenizer):
            ids = np.array(reading.tokenizer.ids(text.text), dtype)
        else:
            blocks = list(reading.tokenizer.encode(_part(text), vocabulary))
            ids = np.concatenate(blocks).astype(dtype)
        if not len(ids):
            raise UsageError(f"the tokenizer makes no token of the text {text.name}: take it out")
        starts.append(place)
        place += len(ids)
        yield ids
