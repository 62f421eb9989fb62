"""Text that a trained model is given: files, or standard input, as ids of its vocabulary."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from rmt.data.text.encoding import UnknownSymbol, id_type
from rmt.data.text.files import file_source
from rmt.data.text.reading import Reading
from rmt.data.text.sources import Source
from rmt.data.vocabulary import UNKNOWN, Vocabulary
from rmt.runtime.errors import UsageError
from rmt.runtime.progress import Progress

STDIN = "-"  # the name of standard input among those of files


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A file; or STDIN or a pipe (<(command) of a shell), which is read to its end before.

    Raises UsageError for an empty one.
    """
    path = Path(name)
    if name != STDIN and not path.is_fifo():
        yield file_source(path)
        return
    shown = "standard input" if name == STDIN else name
    with tempfile.NamedTemporaryFile() as copy:
        with nullcontext(sys.stdin.buffer) if name == STDIN else path.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        source = replace(Source.from_file(Path(copy.name)), name=shown)
        if not source.size():
            raise UsageError(f"{shown} is empty")
        yield source


def encode_text(
    source: Source, reading: Reading, vocabulary: Vocabulary, before: Sequence[int] = ()
) -> np.ndarray:
    """The ids of a text: a read-only memory map of a temporary file, which is gone with it.

    before: ids to put before them. Words that the vocabulary lacks become its unknown symbol.
    Raises UsageError where it has none, for a text that adds no token to them, and for less than
    the two tokens that a prediction takes.
    """
    dtype, part = id_type(len(vocabulary)), reading.whole(source)
    with (
        tempfile.TemporaryFile() as file,
        Progress(len(part), f"reading {source.name}", unit="B", unit_scale=True) as bar,
    ):
        file.write(np.array(before, dtype).data)
        n_tokens = len(before)
        blocks = reading.tokenizer.encode(replace(part, on_read=bar.update), vocabulary)
        for ids in advising_unknown(blocks, vocabulary):
            file.write(ids.astype(dtype).data)
            n_tokens += len(ids)
        file.flush()
        if before and n_tokens == len(before):
            raise UsageError(f"{source.name} holds no token: there is nothing to score")
        if n_tokens < 2:
            raise UsageError(
                f"{source.name} is too short to be scored: it holds {n_tokens} of at least 2 tokens"
            )
        return np.memmap(file, dtype, mode="r")


def advising_unknown(blocks: Iterator[np.ndarray], vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """Blocks of ids; UsageError for an unknown symbol, which says what programs can do about it."""
    try:
        yield from blocks
    except UnknownSymbol as error:
        if UNKNOWN in vocabulary:
            advice = f"--unk takes {UNKNOWN} for such words"
        else:
            advice = f"the vocabulary has no {UNKNOWN} to take for it"
        raise UsageError(f"{error.found}; {advice}") from None


def with_unknown(vocabulary: Vocabulary, is_allowed: bool) -> Vocabulary:
    """The vocabulary with <unk> for the words that it lacks, or without.

    Raises UsageError where it is allowed and there is none.
    """
    if is_allowed and UNKNOWN not in vocabulary:
        raise UsageError(f"the vocabulary of the run has no {UNKNOWN}: leave out --unk")
    unknown = UNKNOWN if is_allowed else None
    return Vocabulary(vocabulary.symbols, vocabulary.counts, unknown)
