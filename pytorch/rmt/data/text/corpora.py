"""Text corpora as memory-mapped arrays of ids: wt103, enwik8, text8, your own text, pydoc.

A corpus is encoded once, into a folder named after a hash of its text and options, and mapped into
memory from then on. The processing is that of Transformer-XL (Dai et al. 2019), because published
perplexities and bits per character depend on it.
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rmt.data.store import opened_or_made, write_encoded
from rmt.data.text.encoding import (
    N_CODE_POINTS,
    NEWLINE,
    CodeTokenizer,
    Part,
    Source,
    Tokenizer,
    WordTokenizer,
    read_bytes,
    read_characters,
    read_text8,
    split_bytes,
    split_characters,
)
from rmt.data.vocabulary import Vocabulary
from rmt.options.config import TEXTS, TOKENIZERS
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root

SPLITS = ("train", "valid", "test")

# Transformer-XL: the words before the first cutoff form the head of the adaptive softmax.
WT103_CUTOFFS = (20_000, 40_000, 200_000)
# A prediction needs a token to come from and one to go to.
MIN_TOKENS = 2

PROJECT = project_root()
DEFAULT_PLACES = {"wt103": "wikitext-103", "enwik8": "enwik8", "text8": "text8"}
# In data/, too: what make_mini_data.sh makes of the first two.
MINI_PLACES = {"wt103": "wt103-mini", "enwik8": "enwik8-head"}


@dataclass(frozen=True, eq=False)
class Corpus:
    """Three streams of token ids.

    fingerprint: hexadecimal hash of the text and the options that shape its ids.
    splits: train, valid and test, each a read-only memory map [tokens] of the smallest of uint8,
        uint16 and int32 that holds every id.
    word_level: report perplexity if True, bits per character if False.
    cutoffs: the usual adaptive-softmax cutoffs of this dataset that its vocabulary reaches.
    """

    dataset: str
    fingerprint: str
    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    word_level: bool
    cutoffs: tuple[int, ...]


@dataclass(frozen=True)
class _Text:
    """What load_corpus needs to know of a dataset: where each split lies and how to read it."""

    parts: dict[str, Part]
    tokenizer: Tokenizer
    options: dict[str, bool | str]


def load_corpus(
    dataset: str,
    data: str | Path | None,
    *,
    keep_newlines: bool = False,
    tokenizer: str = "char",
    encoded_dir: str | Path | None = None,
    progress: bool = True,
) -> Corpus:
    """The corpus, encoded now if it never was.

    dataset, data:
        wt103   folder with train.txt, valid.txt, test.txt (or wiki.train.tokens, …): words
        enwik8  raw file, or folder that holds enwik8: bytes, split 90/5/5 % in order
        text8   raw file, or folder that holds text8: a-z and space (as _), split 90/5/5 %
        text    your own UTF-8 file, split 90/5/5 % by characters, or folder as for wt103
        pydoc   None: the language reference inside every CPython, by characters
        None takes the place where getdata.sh puts wt103, enwik8 and text8.
    keep_newlines: enwik8 only. The published preprocessing loses newline bytes; this keeps them.
    tokenizer: text only. "char", or "word": words between white space with <eos> after each line;
        the vocabulary holds the words that train has at least twice, <unk> stands for all others.
    encoded_dir: where encoded corpora lie; default data/encoded in the repository if that can be
        written, else ~/.cache/rmt.
    progress: show a bar on a terminal, one line elsewhere, while encoding.

    Raises UsageError for missing, unreadable or too short text, text that is not what the dataset
    says, and options that do not belong to the dataset.
    """
    _check_options(dataset, data, keep_newlines, tokenizer)
    text = _find_text(dataset, data, keep_newlines, tokenizer)
    fingerprint = _fingerprint(dataset, text)
    root = Path(encoded_dir) if encoded_dir is not None else default_encoded_dir()
    folder = root / f"{dataset}-{fingerprint[:16]}"
    vocabulary, splits = opened_or_made(
        folder, fingerprint, lambda: _encode(dataset, text, folder, fingerprint, progress)
    )
    return Corpus(
        dataset=dataset,
        fingerprint=fingerprint,
        vocabulary=vocabulary,
        splits=splits,
        word_level=isinstance(text.tokenizer, WordTokenizer),
        cutoffs=usual_cutoffs(dataset, len(vocabulary)),
    )


def usual_cutoffs(dataset: str, n_token: int) -> tuple[int, ...]:
    """The adaptive-softmax cutoffs of a dataset that a vocabulary of n_token words reaches."""
    cutoffs = WT103_CUTOFFS if dataset == "wt103" else ()
    return tuple(cutoff for cutoff in cutoffs if cutoff < n_token)


def _check_options(
    dataset: str, data: str | Path | None, keep_newlines: bool, tokenizer: str
) -> None:
    if dataset not in TEXTS:
        raise UsageError(f"unknown dataset {dataset!r}: choose one of {', '.join(TEXTS)}")
    if tokenizer not in TOKENIZERS:
        raise UsageError(f"unknown tokenizer {tokenizer!r}: choose char or word")
    if keep_newlines and dataset != "enwik8":
        raise UsageError(f"keep_newlines belongs to enwik8, not to {dataset}")
    if tokenizer != "char" and dataset != "text":
        raise UsageError(f"tokenizer {tokenizer} belongs to the dataset text, not to {dataset}")
    if dataset == "text" and data is None:
        raise UsageError("the dataset text needs a UTF-8 file of yours: name it with --data")
    if dataset == "pydoc" and data is not None:
        raise UsageError(f"the dataset pydoc comes with Python: leave out --data {data}")


# --- finding the text ----------------------------------------------------------------------------


def _find_text(dataset: str, data: str | Path | None, keep_newlines: bool, tokenizer: str) -> _Text:
    if dataset == "pydoc":
        return _characters(split_characters(_pydoc_source()))
    path = Path(data) if data is not None else _default_place(dataset)
    if not path.exists():
        download = f"run `bash getdata.sh {dataset}`"
        if dataset == "text":
            advice = "check --data"
        elif path.name == MINI_PLACES.get(dataset):
            advice = "make it with `bash run_scripts/make_mini_data.sh`"
        else:
            advice = f"check --data, or {download} and leave it out" if data else download
        raise UsageError(f"there is no {dataset} data at {path}: {advice}")
    if dataset == "wt103":
        return _Text(_folder_parts(path, dataset), WordTokenizer(), {})
    if dataset == "text":
        words = tokenizer == "word"
        if path.is_dir():
            parts = _folder_parts(path)
        else:
            parts = split_characters(_file_source(path), between_words=words)
        return _own_words(parts) if words else _characters(parts)
    source = _file_source(path / dataset if path.is_dir() else path, dataset)
    return _enwik8(source, keep_newlines) if dataset == "enwik8" else _text8(source)


def _enwik8(source: Source, keep_newlines: bool) -> _Text:
    read = read_bytes if keep_newlines else partial(read_bytes, without=NEWLINE)
    return _Text(
        split_bytes(source, source.size()),
        CodeTokenizer(read, symbol=str, code=int),
        {"keep_newlines": keep_newlines},
    )


def _text8(source: Source) -> _Text:
    size = source.size()
    tail = b"".join(source.blocks(max(0, size - 2), size))
    size -= len(tail) - len(tail.rstrip(b"\r\n"))  # an editor's newline is no part of text8
    parts = {split: _stripped(part) for split, part in split_bytes(source, size).items()}
    return _Text(
        parts,
        CodeTokenizer(
            read_text8,
            symbol=lambda code: chr(code).replace(" ", "_"),
            code=lambda symbol: ord(symbol.replace("_", " ")),
        ),
        {},
    )


def _stripped(part: Part) -> Part:
    """Without the spaces at both ends."""
    start, stop = part.start, part.stop
    while start < stop and next(part.source.blocks(start, start + 1)) == b" ":
        start += 1
    while start < stop and next(part.source.blocks(stop - 1, stop)) == b" ":
        stop -= 1
    return replace(part, start=start, stop=stop)


def _characters(parts: dict[str, Part]) -> _Text:
    tokenizer = CodeTokenizer(read_characters, n_codes=N_CODE_POINTS)
    return _Text(parts, tokenizer, {"tokenizer": "char"})


def _own_words(parts: dict[str, Part]) -> _Text:
    return _Text(parts, WordTokenizer(rare_to_unknown=True), {"tokenizer": "word"})


def _pydoc_source() -> Source:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError(
            "this Python was installed without pydoc_data: choose another dataset"
        ) from error
    content = "".join(topics[topic] for topic in sorted(topics)).encode("utf-8")
    return Source("pydoc_data.topics", lambda: io.BytesIO(content))


def _folder_parts(folder: Path, download: str | None = None) -> dict[str, Part]:
    """Three files, each a whole split; `download` as for _file_source."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file; give the folder that holds train.txt, valid.txt and test.txt"
        )
    parts = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        if not path.exists() and (folder / f"wiki.{split}.tokens").exists():
            path = folder / f"wiki.{split}.tokens"
        source = _file_source(path, download)
        parts[split] = Part(source, 0, source.size())
    return parts


def _file_source(path: Path, download: str | None = None) -> Source:
    """A file with something in it; `download` is what getdata.sh would fetch."""
    if not path.is_file():
        advice = f": run `bash getdata.sh {download}`" if download else ""
        raise UsageError(f"there is no file {path}{advice}")
    source = Source.from_file(path)
    if source.size() == 0:
        raise UsageError(f"{path} is empty")
    return source


def _default_place(dataset: str) -> Path:
    data = PROJECT / "data"
    return (data if data.is_dir() else Path("data")) / DEFAULT_PLACES[dataset]


def default_encoded_dir() -> Path:
    """Where encoded data lies unless encoded_dir says otherwise."""
    data = PROJECT / "data"
    if data.is_dir() and os.access(data, os.W_OK):
        return data / "encoded"
    return Path.home() / ".cache" / "rmt"


# --- encoding ------------------------------------------------------------------------------------


def _fingerprint(dataset: str, text: _Text) -> str:
    options = json.dumps([dataset, text.options], sort_keys=True)
    digest = hashlib.sha256(options.encode())
    for split in SPLITS:
        part = text.parts[split]
        digest.update(f"\n{split} {len(part)}\n".encode())
        for block in part.blocks():
            digest.update(block)
    return digest.hexdigest()


def _encode(dataset: str, text: _Text, folder: Path, fingerprint: str, progress: bool) -> None:
    to_read = [*SPLITS, *text.tokenizer.vocabulary_splits]
    n_bytes = sum(len(text.parts[split]) for split in to_read)
    bar_shown = progress and sys.stderr.isatty()
    if progress and not bar_shown:
        print(f"encoding {dataset} ({n_bytes / 1e6:.1f} MB to read) into {folder}", file=sys.stderr)
    with tqdm(
        total=n_bytes, desc=f"encoding {dataset}", unit="B", unit_scale=True, disable=not bar_shown
    ) as bar:
        parts = {split: replace(part, on_read=bar.update) for split, part in text.parts.items()}
        vocabulary = text.tokenizer.vocabulary(parts)
        write_encoded(
            folder,
            fingerprint,
            {"dataset": dataset, **text.options},
            vocabulary,
            _encoded_parts(parts, text.tokenizer, vocabulary),
        )


def _encoded_parts(
    parts: Mapping[str, Part], tokenizer: Tokenizer, vocabulary: Vocabulary
) -> dict[str, Iterator[np.ndarray]]:
    def blocks(split: str) -> Iterator[np.ndarray]:
        n_tokens = 0
        for ids in tokenizer.encode(parts[split], vocabulary):
            n_tokens += len(ids)
            yield ids
        if n_tokens < MIN_TOKENS:
            raise UsageError(
                f"{parts[split].source.name} is too short: its {split} part holds {n_tokens} "
                f"of at least {MIN_TOKENS} tokens"
            )

    return {split: blocks(split) for split in SPLITS}
