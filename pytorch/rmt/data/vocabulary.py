"""The symbols of a corpus and their ids."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rmt.runtime.errors import UsageError

EOS = "<eos>"  # ends every line of word-level text
UNKNOWN = "<unk>"  # stands for rare and unseen words


class Vocabulary:
    """An ordered set of symbols; the place of a symbol is its id, and `ids` maps it to that.

    symbols: words, characters, or for enwik8 the decimal value of a byte ("32" is a space), as in
        Transformer-XL.
    counts: how often each symbol occurs in the text that the vocabulary was made from.
    unknown: the symbol that encode() puts in place of one it does not know; None makes an unknown
        symbol an error.
    """

    def __init__(
        self, symbols: Sequence[str], counts: Sequence[int] = (), unknown: str | None = None
    ):
        self.symbols = tuple(symbols)
        self.counts = tuple(counts)
        self.unknown = unknown
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self.ids) != len(self.symbols):
            raise ValueError("a vocabulary holds each symbol once")
        if self.counts and len(self.counts) != len(self.symbols):
            raise ValueError("a vocabulary holds one count per symbol")
        if unknown is not None and unknown not in self.ids:
            raise ValueError(f"the symbol for unknown words, {unknown!r}, is not in the vocabulary")

    @classmethod
    def from_counts(
        cls, counts: Counter[str], special: Sequence[str] = (), unknown: str | None = None
    ) -> "Vocabulary":
        """Special symbols first, then by falling count; ties in order of first appearance."""
        ordered = [(symbol, counts[symbol]) for symbol in special]
        ordered += [(s, count) for s, count in counts.most_common() if s not in special]
        return cls([s for s, _ in ordered], [count for _, count in ordered], unknown)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_json() == other.to_json()

    __hash__ = None  # compared by content, never a dictionary key

    def index(self, symbol: str) -> int:
        """The id of a symbol, or of `unknown`; UsageError if the vocabulary has neither."""
        if symbol in self.ids:
            return self.ids[symbol]
        if self.unknown is None:
            raise UsageError(f"{symbol!r} is not among the {len(self):,} symbols of the vocabulary")
        return self.ids[self.unknown]

    def encode(self, symbols: Iterable[str]) -> np.ndarray:
        """Ids [n] (int64) of the symbols; UsageError as in index()."""
        known = self.ids
        ids = (known[s] if s in known else self.index(s) for s in symbols)
        return np.fromiter(ids, dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The symbols with these ids; IndexError for an id that the vocabulary lacks."""
        return [self.symbols[_not_negative(i)] for i in ids]

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dump; from_json() makes the same vocabulary of them."""
        return {
            "symbols": list(self.symbols),
            "counts": list(self.counts),
            "unknown": self.unknown,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        return cls(values["symbols"], values["counts"], values["unknown"])


def _not_negative(i: int) -> int:
    if i < 0:  # Python would count from the end
        raise IndexError(f"{i} is not the id of a symbol")
    return i
