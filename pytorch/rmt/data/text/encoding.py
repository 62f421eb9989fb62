"""Text to ids, block by block: a corpus is never held in memory as Python strings."""

import codecs
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from rmt.data.vocabulary import EOS, UNKNOWN, Vocabulary
from rmt.runtime.errors import UsageError

BLOCK_BYTES = 1 << 22
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # U+FEFF in UTF-8
NEWLINE, SPACE = 10, 32
N_CODE_POINTS = 0x110000  # Unicode


@dataclass(frozen=True)
class Source:
    """Bytes to read again and again: a file, or text held in memory. `name` is for messages."""

    name: str
    open: Callable[[], BinaryIO]

    @classmethod
    def from_file(cls, path: Path) -> "Source":
        return cls(str(path), lambda: open(path, "rb"))

    def size(self) -> int:
        """In bytes."""
        with self._opened() as stream:
            return stream.seek(0, 2)

    def text(self) -> "Part":
        """All of it but for a byte order mark at the start, which is no part of UTF-8 text."""
        size = self.size()
        first = b"".join(self.blocks(0, min(size, len(BYTE_ORDER_MARK))))
        return Part(self, len(first) if first == BYTE_ORDER_MARK else 0, size)

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes start .. stop-1 in blocks of at most BLOCK_BYTES."""
        with self._opened() as stream:
            stream.seek(start)
            while start < stop:
                try:
                    block = stream.read(min(BLOCK_BYTES, stop - start))
                except OSError as error:
                    raise UsageError(f"cannot read {self.name}: {error.strerror}") from error
                if not block:
                    raise UsageError(f"{self.name} became shorter while it was read")
                start += len(block)
                yield block

    def _opened(self) -> BinaryIO:
        try:
            return self.open()
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}") from error


@dataclass(frozen=True)
class Part:
    """The bytes start .. stop-1 of a source; on_read is told how many bytes were read just now."""

    source: Source
    start: int
    stop: int
    on_read: Callable[[int], object] = lambda n_bytes: None

    def __len__(self) -> int:
        return self.stop - self.start

    def blocks(self) -> Iterator[bytes]:
        for block in self.source.blocks(self.start, self.stop):
            yield block
            self.on_read(len(block))

    def lines_before(self) -> int:
        """Of the source, before this part."""
        return sum(block.count(b"\n") for block in self.source.blocks(0, self.start))


class UnknownSymbol(UsageError):
    """A word or character of a text that a vocabulary lacks.

    line: counted from the start of the part. place: where it is and what, for a sentence of one's
    own. found: the same and what is wrong, for a sentence that ends in other advice.
    """

    def __init__(self, part: Part, line: int, symbol: str, advice: str):
        self.place = f"{part.source.name}, line {part.lines_before() + line}: {symbol}"
        self.found = f"{self.place} does not occur in the training text"
        super().__init__(f"{self.found}; {advice}")


class Tokenizer(Protocol):
    """Makes symbols of text, and ids of symbols; UnknownSymbol for those that there are not."""

    vocabulary_splits: tuple[str, ...]  # the splits that the vocabulary is made from

    def vocabulary(self, parts: Mapping[str, Part]) -> Vocabulary: ...

    def adopted(self, vocabulary: Vocabulary) -> Vocabulary:
        """A vocabulary from elsewhere, with what is done here about symbols that it lacks.

        Raises UsageError with the reason where it is one of other symbols.
        """
        ...

    def encode(
        self, part: Part, vocabulary: Vocabulary, goes_on: bool = False
    ) -> Iterator[np.ndarray]:
        """Ids, block by block. goes_on: more text follows, so that a last line may be open."""
        ...

    def write(self, symbols: Iterable[str], after: str | None = None) -> Iterator[str]:
        """The text of each symbol, as soon as it comes; after is the symbol before the first."""
        ...


# --- where to split ------------------------------------------------------------------------------


def split_bytes(source: Source, size: int) -> dict[str, Part]:
    """The first `size` bytes of a source: 90 % train, 5 % valid, 5 % test, in order."""
    held_out = size // 20
    return _cut(Part(source, 0, size), size - 2 * held_out, size - held_out)


def split_characters(text: Part, between_words: bool = False) -> dict[str, Part]:
    """90 % of the characters of UTF-8 text for train, 5 % for valid, 5 % for test, in order.

    between_words: a cut that would fall inside a word moves to just after the next space or
    newline.
    """
    source = text.source
    offsets, firsts = [], []  # of each block: its byte offset, the number of its first character
    offset, n_characters = text.start, 0
    for block in text.blocks():
        offsets.append(offset)
        firsts.append(n_characters)
        offset += len(block)
        n_characters += int(_starts_character(block).sum())

    def byte_offset(character: int) -> int:
        i = bisect_right(firsts, character) - 1
        block = next(source.blocks(offsets[i], text.stop))
        return offsets[i] + int(np.flatnonzero(_starts_character(block))[character - firsts[i]])

    held_out = n_characters // 20
    if held_out == 0:
        raise UsageError(f"{source.name} is too short to split: it holds {n_characters} characters")
    cuts = [byte_offset(n_characters - n * held_out) for n in (2, 1)]
    if between_words:
        cuts = [_next_word(source, cut, text.stop) for cut in cuts]
    return _cut(text, *cuts)


def _starts_character(block: bytes) -> np.ndarray:
    """True for every byte that is not a UTF-8 continuation byte (0b10xxxxxx)."""
    return (np.frombuffer(block, np.uint8) & 0xC0) != 0x80


def _next_word(source: Source, cut: int, size: int) -> int:
    position = cut - 1  # if the byte before the cut is a space, the cut is between words already
    for block in source.blocks(position, size):
        space = re.search(rb"[ \n]", block)
        if space:
            return position + space.end()
        position += len(block)
    return size


def _cut(whole: Part, valid: int, test: int) -> dict[str, Part]:
    return {
        "train": replace(whole, stop=valid),
        "valid": replace(whole, start=valid, stop=test),
        "test": replace(whole, start=test),
    }


# --- characters and bytes ------------------------------------------------------------------------


def read_bytes(part: Part, without: int | None = None) -> Iterator[np.ndarray]:
    """Byte values; `without` names a value to leave out."""
    for block in part.blocks():
        codes = np.frombuffer(block, np.uint8)
        yield codes if without is None else codes[codes != without]


def read_text8(part: Part) -> Iterator[np.ndarray]:
    """Byte values; UsageError with the offset of the first that is neither a-z nor a space."""
    allowed = np.zeros(256, bool)
    allowed[[SPACE, *range(ord("a"), ord("z") + 1)]] = True
    offset = part.start
    for block in part.blocks():
        codes = np.frombuffer(block, np.uint8)
        if not allowed[codes].all():
            at = offset + int(np.argmin(allowed[codes]))
            raise UsageError(
                f"{part.source.name} is not text8: byte {codes[at - offset]} at offset {at} is "
                "neither a letter a-z nor a space"
            )
        offset += len(block)
        yield codes


def read_characters(part: Part) -> Iterator[np.ndarray]:
    """Unicode code points of UTF-8 text; UsageError with the byte offset where it is not UTF-8."""
    for text in _utf8_blocks(part, _last_character):
        yield np.frombuffer(text.encode("utf-32-le"), "<u4")


@dataclass(frozen=True)
class CodeTokenizer:
    """One symbol per character or byte; symbol(code) is its name, code(symbol) the way back."""

    read: Callable[[Part], Iterator[np.ndarray]]
    symbol: Callable[[int], str] = chr
    code: Callable[[str], int] = ord
    n_codes: int = 256
    vocabulary_splits: tuple[str, ...] = ("train", "valid", "test")

    def vocabulary(self, parts: Mapping[str, Part]) -> Vocabulary:
        counts: Counter[int] = Counter()  # in order of first appearance
        for split in self.vocabulary_splits:
            for codes in self.read(parts[split]):
                in_block = np.bincount(codes, minlength=self.n_codes)
                present = np.flatnonzero(in_block)
                if any(code not in counts for code in present.tolist()):
                    first = np.empty(self.n_codes, np.int64)
                    # Where an index repeats, numpy keeps the last value: here the first place.
                    first[codes[::-1]] = np.arange(len(codes))[::-1]
                    present = present[np.argsort(first[present])]
                for code in present.tolist():
                    counts[code] += int(in_block[code])
        named = Counter({self.symbol(code): count for code, count in counts.items()})
        return Vocabulary.from_counts(named)

    def adopted(self, vocabulary: Vocabulary) -> Vocabulary:
        for symbol in vocabulary.symbols:
            if not self._is_symbol(symbol):
                kind = "bytes" if self.n_codes <= 256 else "characters"
                raise UsageError(f"its {symbol!r} is none of the {kind} of such a text")
        return Vocabulary(vocabulary.symbols, vocabulary.counts)

    def _is_symbol(self, symbol: str) -> bool:
        try:
            code = self.code(symbol)
            return 0 <= code < self.n_codes and self.symbol(code) == symbol
        except (TypeError, ValueError):
            return False

    def encode(
        self, part: Part, vocabulary: Vocabulary, goes_on: bool = False
    ) -> Iterator[np.ndarray]:
        ids = np.zeros(self.n_codes, id_type(len(vocabulary)))
        is_known = np.zeros(self.n_codes, bool)
        for symbol, i in vocabulary.ids.items():
            code = self.code(symbol)
            ids[code], is_known[code] = i, True
        for codes in self.read(part):
            if not is_known[codes].all():
                raise self._unknown(part, int(codes[np.argmin(is_known[codes])]))
            yield ids[codes]

    def write(self, symbols: Iterable[str], after: str | None = None) -> Iterator[str]:
        """Of bytes a character comes with its last one, and U+FFFD for what is no UTF-8."""
        if self.n_codes > 256:
            yield from (chr(self.code(symbol)) for symbol in symbols)
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        yield from (decoder.decode(bytes([self.code(symbol)])) for symbol in symbols)
        yield decoder.decode(b"", final=True)

    def _unknown(self, part: Part, code: int) -> UnknownSymbol:
        """The error for the first code that a vocabulary lacks."""
        is_byte = self.n_codes <= 256
        written = bytes([code]) if is_byte else chr(code).encode()
        symbol = f"the byte {code:#04x}" if is_byte else f"the character {chr(code)!r}"
        advice = "take it out, or train on a text that has it"
        return UnknownSymbol(part, _line_of(written, part), symbol, advice)


def _line_of(written: bytes, part: Part) -> int:
    """The number of the line in which some bytes stand first."""
    n_lines, rest = 1, b""
    for block in part.blocks():
        seen = rest + block
        place = seen.find(written)
        end = len(seen) if place < 0 else max(place, len(rest))
        n_lines += seen.count(b"\n", len(rest), end)
        if place >= 0:
            break
        rest = seen[max(len(seen) - len(written) + 1, 0) :]  # it may go on in the next block
    return n_lines


# --- words ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WordTokenizer:
    """Words between white space, case kept, and <eos> (id 0) after every line, blank ones too.

    The vocabulary comes from train alone. rare_to_unknown: <unk> (id 1) takes the place of words
    that train holds once or never; otherwise a word that train lacks is a UsageError.
    """

    rare_to_unknown: bool = False
    vocabulary_splits: tuple[str, ...] = ("train",)

    def vocabulary(self, parts: Mapping[str, Part]) -> Vocabulary:
        counts: Counter[str] = Counter()
        for text in _lines(parts["train"]):
            counts.update(_words(text))
        if not self.rare_to_unknown:
            return Vocabulary.from_counts(counts, special=[EOS])
        kept = Counter({word: count for word, count in counts.items() if count > 1})
        kept[EOS] = counts[EOS]
        kept[UNKNOWN] = counts.total() - sum(kept[word] for word in kept if word != UNKNOWN)
        return Vocabulary.from_counts(kept, special=[EOS, UNKNOWN], unknown=UNKNOWN)

    def adopted(self, vocabulary: Vocabulary) -> Vocabulary:
        if EOS not in vocabulary:
            raise UsageError(f"it has no {EOS}, which ends every line of such a text")
        unknown = UNKNOWN if self.rare_to_unknown and UNKNOWN in vocabulary else None
        return Vocabulary(vocabulary.symbols, vocabulary.counts, unknown)

    def encode(
        self, part: Part, vocabulary: Vocabulary, goes_on: bool = False
    ) -> Iterator[np.ndarray]:
        dtype = id_type(len(vocabulary))
        unknown = None if vocabulary.unknown is None else vocabulary.ids[vocabulary.unknown]
        lines_before = 0
        for text in _lines(part, goes_on):
            _refuse_end_of_line(part, text, lines_before)
            words = _words(text)
            try:
                # A loop in C over the words: several times faster than one in Python.
                ids = np.fromiter(map(vocabulary.ids.get, words, repeat(unknown)), dtype)
            except TypeError:  # numpy makes no id of None
                raise _unknown_word(part, text, lines_before, vocabulary) from None
            yield ids
            lines_before += text.count("\n")

    def write(self, symbols: Iterable[str], after: str | None = None) -> Iterator[str]:
        """One space between words, and a newline for <eos>: white space was no part of the ids."""
        for symbol in symbols:
            if symbol == EOS:
                yield "\n"
            else:
                yield symbol if after in (None, EOS) else f" {symbol}"
            after = symbol


def _unknown_word(
    part: Part, text: str, lines_before: int, vocabulary: Vocabulary
) -> UnknownSymbol:
    number, word = next(
        (lines_before + i, word)
        for i, line in enumerate(text.split("\n"), start=1)
        for word in line.split()
        if word not in vocabulary
    )
    own_words = "use --dataset text --tokenizer word"
    if UNKNOWN in vocabulary:
        advice = f"write {UNKNOWN} for such words, or {own_words}"
    else:
        advice = f"write {UNKNOWN} for rare words there, too, or {own_words}, which does that"
    return UnknownSymbol(part, number, f"the word {word!r}", advice)


def _refuse_end_of_line(part: Part, text: str, lines_before: int) -> None:
    """Raise UsageError for text that has <eos> in it already."""
    if EOS not in text:
        return
    for number, line in enumerate(text.split("\n"), start=lines_before + 1):
        if EOS in line.split():
            raise UsageError(
                f"{part.source.name}, line {part.lines_before() + number}: the text holds {EOS} "
                "already, which is put at the end of every line here: take it out"
            )


def _words(text: str) -> list[str]:
    return text.replace("\n", f" {EOS} ").split()


def _lines(part: Part, goes_on: bool = False) -> Iterator[str]:
    """Stretches of text that break between words and in which every line ends in a newline, but
    for the last one of a text that goes on.

    As in Python's text files, \\r\\n and \\r end a line too.
    """
    ended = True
    for block in _utf8_blocks(part, _last_space):
        text = block.replace("\r\n", "\n").replace("\r", "\n")
        ended = text.endswith("\n")
        yield text
    if not ended and not goes_on:
        yield "\n"


# --- UTF-8 ---------------------------------------------------------------------------------------


def _utf8_blocks(part: Part, last_break: Callable[[bytes], int]) -> Iterator[str]:
    """The text of a part in blocks that end at last_break(bytes); the rest goes to the next."""
    offset, rest = part.start, b""
    for block in part.blocks():
        rest += block
        stop = last_break(rest)
        if stop:
            yield _decode(rest[:stop], offset, part)
            offset, rest = offset + stop, rest[stop:]
    if rest:
        yield _decode(rest, offset, part)


def _last_character(data: bytes) -> int:
    """Where the last character starts: it may go on in the next block."""
    starts = np.flatnonzero(_starts_character(data[-4:]))
    return len(data) - len(data[-4:]) + int(starts[-1]) if len(starts) else len(data)


def _last_space(data: bytes) -> int:
    """Just after the last space or newline: never inside a word, or between \\r and \\n."""
    return max(data.rfind(b" "), data.rfind(b"\n")) + 1


def _decode(data: bytes, offset: int, part: Part) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{part.source.name} is not UTF-8 text: byte {data[error.start]:#04x} at byte offset "
            f"{offset + error.start}"
        ) from error


# --- common --------------------------------------------------------------------------------------


def id_type(n_symbols: int) -> np.dtype:
    """The smallest of uint8, uint16 and int32 that holds the ids 0 .. n_symbols-1."""
    if n_symbols <= 1 << 8:
        return np.dtype("uint8")
    return np.dtype("uint16" if n_symbols <= 1 << 16 else "int32")
