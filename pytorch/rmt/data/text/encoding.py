"""Text to ids, block by block: a corpus is never held in memory as Python strings."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np

from rmt.data.text.sources import Part, last_character, last_space, utf8_blocks
from rmt.data.vocabulary import EOS, UNKNOWN, Vocabulary
from rmt.runtime.errors import UsageError

NEWLINE, SPACE = 10, 32
SIGNS = {"\n": "↵", "\t": "→"}  # for characters that would break a line, or not be seen
N_CODE_POINTS = 0x110000  # Unicode


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

    def vocabulary(self, documents: Mapping[str, Sequence[Part]]) -> Vocabulary: ...

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

    def shown(self, symbol: str) -> str:
        """A symbol for people to see, in a row with others."""
        ...


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


def read_text(part: Part) -> Iterator[str]:
    """UTF-8 text, block by block; UsageError with the byte offset where it is not UTF-8."""
    return utf8_blocks(part, last_character)


def read_characters(part: Part) -> Iterator[np.ndarray]:
    """Unicode code points of UTF-8 text; UsageError with the byte offset where it is not UTF-8."""
    for text in read_text(part):
        yield np.frombuffer(text.encode("utf-32-le"), "<u4")


@dataclass(frozen=True)
class CodeTokenizer:
    """One symbol per character or byte; symbol(code) is its name, code(symbol) the way back."""

    read: Callable[[Part], Iterator[np.ndarray]]
    symbol: Callable[[int], str] = chr
    code: Callable[[str], int] = ord
    n_codes: int = 256
    vocabulary_splits: tuple[str, ...] = ("train", "valid", "test")

    def vocabulary(self, documents: Mapping[str, Sequence[Part]]) -> Vocabulary:
        counts: Counter[int] = Counter()  # in order of first appearance
        for part in (part for split in self.vocabulary_splits for part in documents[split]):
            for codes in self.read(part):
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

    def shown(self, symbol: str) -> str:
        """A byte that is only a part of a character is shown as its hexadecimal value."""
        code = self.code(symbol)
        if self.n_codes <= 256 and code >= 128:
            return f"<{code:02x}>"
        return SIGNS.get(chr(code), chr(code))

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

    def vocabulary(self, documents: Mapping[str, Sequence[Part]]) -> Vocabulary:
        counts: Counter[str] = Counter()
        for part in documents["train"]:
            for text in _lines(part):
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

    def shown(self, symbol: str) -> str:
        return f"{symbol} "


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
    for block in utf8_blocks(part, last_space):
        text = block.replace("\r\n", "\n").replace("\r", "\n")
        ended = text.endswith("\n")
        yield text
    if not ended and not goes_on:
        yield "\n"


# --- common --------------------------------------------------------------------------------------


def id_type(n_symbols: int) -> np.dtype:
    """The smallest of uint8, uint16 and int32 that holds the ids 0 .. n_symbols-1."""
    if n_symbols <= 1 << 8:
        return np.dtype("uint8")
    return np.dtype("uint16" if n_symbols <= 1 << 16 else "int32")
