"""How text becomes ids, and what models of it are scored by: the same for any text of a dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rmt.data.metrics import BITS_PER_CHARACTER, PERPLEXITY, Metric
from rmt.data.text.encoding import (
    N_CODE_POINTS,
    CodeTokenizer,
    Tokenizer,
    WordTokenizer,
    read_characters,
)
from rmt.data.text.sources import Part, Source


@dataclass(frozen=True)
class Reading:
    """tokenizer: makes symbols of text. metric: the score of models.

    options: those that shape the ids, as they are recorded. whole: what of a file is text. files:
    of which a run keeps copies, by name, so that its text can be read where they are not.
    """

    tokenizer: Tokenizer
    metric: Metric
    options: Mapping[str, bool | str]
    whole: Callable[[Source], Part] = Source.text
    files: Mapping[str, Path] = field(default_factory=dict)


CHARACTERS = Reading(
    CodeTokenizer(read_characters, n_codes=N_CODE_POINTS),
    BITS_PER_CHARACTER,
    {"tokenizer": "char"},
)
# One symbol per word; rare ones are <unk>.
WORDS = Reading(WordTokenizer(rare_to_unknown=True), PERPLEXITY, {"tokenizer": "word"})
