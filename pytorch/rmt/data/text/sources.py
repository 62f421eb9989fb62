"""Bytes to read again and again, and the UTF-8 text in them, block by block."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rmt.runtime.errors import UsageError

BLOCK_BYTES = 1 << 22
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # U+FEFF in UTF-8


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


def named(parts: Sequence[Part]) -> str:
    """What a text of several sources is called."""
    first, *others = dict.fromkeys(part.source.name for part in parts)
    return f"{first} and {len(others)} more" if others else first


def starts_character(block: bytes) -> np.ndarray:
    """True for every byte that is not a UTF-8 continuation byte (0b10xxxxxx)."""
    return (np.frombuffer(block, np.uint8) & 0xC0) != 0x80


def utf8_blocks(part: Part, last_break: Callable[[bytes], int]) -> Iterator[str]:
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


def last_character(data: bytes) -> int:
    """Where the last character starts: it may go on in the next block."""
    starts = np.flatnonzero(starts_character(data[-4:]))
    return len(data) - len(data[-4:]) + int(starts[-1]) if len(starts) else len(data)


def last_space(data: bytes) -> int:
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
