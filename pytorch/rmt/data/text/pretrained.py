"""Ids of a pretrained model's own tokenizer, for text that it is to be trained on.

    rmt.train --dataset text --data FILE --tokenizer hf:FOLDER ...

FOLDER holds a tokenizer.json, as save_pretrained of the transformers library writes it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from rmt.data.metrics import PERPLEXITY
from rmt.data.text.dataset import OF_A_MODEL
from rmt.data.text.encoding import Part, id_type, read_text
from rmt.data.text.reading import Reading
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError
from rmt.runtime.optional import imported

FILE = "tokenizer.json"
# Where text can be cut and give the same tokens, of most tokenizers: before one space in a line.
CUT = re.compile(r"\S(?= \S)")
PART = "\ufffd"  # what a token that ends inside a character is decoded to


def reading(option: str) -> Reading:
    """How text is read with --tokenizer hf:FOLDER. Raises UsageError where there is none."""
    path = Path(option.removeprefix(OF_A_MODEL)) / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} can't be read ({error.strerror}): name a folder with a tokenizer that "
            "save_pretrained wrote, as --tokenizer hf:FOLDER"
        ) from None
    return _reading(str(path), hashlib.sha256(content).hexdigest())


def kept_in(folder: Path, option: str) -> str:
    """The option for the copy that a run keeps in a folder; where there is none, as it is."""
    has_copy = option.startswith(OF_A_MODEL) and (folder / FILE).is_file()
    return f"{OF_A_MODEL}{folder}" if has_copy else option


@lru_cache  # a tokenizer takes seconds to be read
def _reading(path: str, sha256: str) -> Reading:
    tokenizer = PretrainedTokenizer(path)
    options = {"tokenizer": "hf", "tokenizer_sha256": sha256}
    return Reading(tokenizer, PERPLEXITY, options, files={FILE: Path(path)})


@dataclass(frozen=True)
class PretrainedTokenizer:
    """A tokenizer of the tokenizers library. path: of its file."""

    path: str
    vocabulary_splits: tuple[str, ...] = ()

    @cached_property
    def made(self):
        tokenizers = imported("tokenizers", "pretrained tokenizers")
        try:
            made = tokenizers.Tokenizer.from_file(self.path)
        except Exception as error:  # the library raises nothing more exact
            raise UsageError(f"{self.path} holds no tokenizer ({error})") from None
        # The file may say to cut a text where a model's positions end.
        made.no_truncation()
        made.no_padding()
        return made

    def vocabulary(self, documents: Mapping[str, Sequence[Part]]) -> Vocabulary:
        """All of its tokens, whatever the text; an id that it leaves out has a name, too."""
        return Vocabulary(self.symbols)

    def adopted(self, vocabulary: Vocabulary) -> Vocabulary:
        """Raises UsageError for the vocabulary of anything but this tokenizer."""
        if list(vocabulary.symbols) != self.symbols:
            raise UsageError(f"its tokens are not those of the tokenizer {self.path}")
        return vocabulary

    @cached_property
    def symbols(self) -> list[str]:
        """By id."""
        names = {i: symbol for symbol, i in self.made.get_vocab(with_added_tokens=True).items()}
        return [names.get(i, f"<no token {i}>") for i in range(1 + max(names))]

    def encode(
        self, part: Part, vocabulary: Vocabulary, goes_on: bool = False
    ) -> Iterator[np.ndarray]:
        """Raises UsageError for text that its tokens don't give back."""
        dtype = id_type(len(vocabulary))
        blocks = read_text(part)
        for text in _stretches(blocks) if self.can_be_cut else ["".join(blocks)]:
            ids = self.ids(text)
            again = self.made.decode(ids, skip_special_tokens=False)
            if again != text:
                pairs = enumerate(zip(text, again, strict=False))
                at = next((i for i, (a, b) in pairs if a != b), min(len(text), len(again)))
                raise UsageError(
                    f"the tokenizer {self.path} does not give back the text of {part.source.name}: "
                    f"{text[at : at + 20]!r} becomes {again[at : at + 20]!r}"
                )
            yield np.array(ids, dtype)

    @cached_property
    def can_be_cut(self) -> bool:
        """Whether a text's tokens are those of its stretches.

        Not so of tokenizers that put a space before whatever they are given, as Llama 2's.
        """
        return self.ids("a b") == [*self.ids("a"), *self.ids(" b")]

    def ids(self, text: str) -> list[int]:
        """Of a whole text, which they need not give back."""
        return self.made.encode(text, add_special_tokens=False).ids

    @property
    def around(self) -> tuple[int | None, int | None]:
        """The tokens that are put before a text and after it for a model, as [CLS] and [SEP]; None
        where there is none. Raises UsageError for several."""
        alone, whole = self.ids("a"), self.made.encode("a").ids
        n_more = len(whole) - len(alone)
        starts = [i for i in range(n_more + 1) if whole[i : i + len(alone)] == alone]
        if not starts or starts[0] > 1 or n_more - starts[0] > 1:
            raise UsageError(f"{self.path} puts {n_more} tokens around a text, not one on a side")
        before, after = whole[: starts[0]], whole[starts[0] + len(alone) :]
        return (before or [None])[0], (after or [None])[0]

    def write(self, symbols: Iterable[str], after: str | None = None) -> Iterator[str]:
        """A character comes with the last of its tokens.

        after: the symbol before them, without which some tokenizers leave out the first space.
        """
        before = [] if after is None else [self.made.token_to_id(after)]
        if None in before or PART in self.made.decode(before, skip_special_tokens=False):
            before = []
        stream = imported("tokenizers.decoders", "pretrained tokenizers").DecodeStream(ids=before)
        for symbol in symbols:
            i = self.made.token_to_id(symbol)
            yield (stream.step(self.made, i) if i is not None else None) or ""

    def shown(self, symbol: str) -> str:
        """A token that is only a part of a character is shown by the library's name for it."""
        i = self.made.token_to_id(symbol)
        text = symbol if i is None else self.made.decode([i], skip_special_tokens=False)
        return symbol if PART in text else text


def _stretches(blocks: Iterable[str]) -> Iterator[str]:
    """The same text, cut where that changes no token."""
    rest = ""
    for block in blocks:
        rest += block
        cut = 0
        for found in CUT.finditer(rest, max(0, len(rest) - 10_000)):
            cut = found.end()
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
