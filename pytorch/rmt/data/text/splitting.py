"""Where a text is cut into train, valid and test: 90 %, 5 % and 5 %, in order."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rmt.data.text.sources import Part, Source, named, starts_character
from rmt.runtime.errors import UsageError


def split_bytes(source: Source, size: int) -> dict[str, Part]:
    """The first `size` bytes of a source."""
    held_out = size // 20
    return _cut(Part(source, 0, size), size - 2 * held_out, size - held_out)


def split_characters(text: Part, between_words: bool = False) -> dict[str, Part]:
    """The characters of UTF-8 text.

    between_words: a cut that would fall inside a word moves to just after the next space or
    newline.
    """
    counted = Characters.of(text)
    return _cut(text, *(counted.offset(cut, between_words) for cut in _cuts([counted])))


def split_documents(
    documents: Sequence[Part], between_words: bool = False
) -> dict[str, tuple[Part, ...]]:
    """The characters of several documents, one after the other as if they were one text.

    So a document that a cut falls into is in two splits, as a document in each; with many of them
    nearly all stay whole. between_words as in split_characters.
    """
    every = [Characters.of(document) for document in documents]
    cuts, n_before = _cuts(every), 0
    splits: dict[str, list[Part]] = {}
    for own in every:
        offsets = [own.offset(cut - n_before, between_words) for cut in cuts]
        for split, piece in _cut(own.text, *offsets).items():
            splits.setdefault(split, []).extend([piece] if len(piece) else [])
        n_before += own.n
    return {split: tuple(pieces) for split, pieces in splits.items()}


@dataclass(frozen=True)
class Characters:
    """Where the characters of UTF-8 text are.

    n: how many there are. offsets, firsts: of each block, its byte offset and the number of its
    first character.
    """

    text: Part
    n: int
    offsets: Sequence[int]
    firsts: Sequence[int]

    @classmethod
    def of(cls, text: Part) -> "Characters":
        offsets, firsts = [], []
        offset, n_characters = text.start, 0
        for block in text.blocks():
            offsets.append(offset)
            firsts.append(n_characters)
            offset += len(block)
            n_characters += int(starts_character(block).sum())
        return cls(text, n_characters, offsets, firsts)

    def offset(self, character: int, between_words: bool) -> int:
        """The byte offset of a character; the text's start or end for one before or after it."""
        if character <= 0:
            return self.text.start
        if character >= self.n:
            return self.text.stop
        i = bisect_right(self.firsts, character) - 1
        block = next(self.text.source.blocks(self.offsets[i], self.text.stop))
        in_block = np.flatnonzero(starts_character(block))[character - self.firsts[i]]
        cut = self.offsets[i] + int(in_block)
        return _next_word(self.text, cut) if between_words else cut


def _cuts(every: Sequence[Characters]) -> tuple[int, int]:
    """The numbers of the first characters of valid and of test."""
    n_characters = sum(own.n for own in every)
    held_out = n_characters // 20
    if held_out == 0:
        name = named([own.text for own in every])
        raise UsageError(f"{name} is too short to split: it holds {n_characters} characters")
    return n_characters - 2 * held_out, n_characters - held_out


def _next_word(text: Part, cut: int) -> int:
    position = cut - 1  # if the byte before the cut is a space, the cut is between words already
    for block in text.source.blocks(position, text.stop):
        space = re.search(rb"[ \n]", block)
        if space:
            return position + space.end()
        position += len(block)
    return text.stop


def _cut(whole: Part, valid: int, test: int) -> dict[str, Part]:
    return {
        "train": replace(whole, stop=valid),
        "valid": replace(whole, start=valid, stop=test),
        "test": replace(whole, start=test),
    }
