"""Labels as symbols: a vocabulary that ends with PADDING and then a symbol for each label.

So a label is a word that a language model can predict, and PADDING stands where there is no text.
"""

from collections.abc import Sequence

from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError

PADDING = "<padding>"
BEGINS, ENDS = "<label ", ">"


def label_symbols(labels: Sequence[str]) -> tuple[str, ...]:
    """What such a vocabulary ends with."""
    return (PADDING, *(BEGINS + label + ENDS for label in labels))


def labels_of(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The labels of such a vocabulary, in order. Raises UsageError for another one."""
    if PADDING not in vocabulary:
        raise UsageError("the vocabulary is of a run without labels")
    symbols = vocabulary.symbols[vocabulary.ids[PADDING] + 1 :]
    return tuple(symbol.removeprefix(BEGINS).removesuffix(ENDS) for symbol in symbols)


def first_label(n_symbols: int, n_labels: int) -> int:
    """The id of the first label in a vocabulary of so many symbols."""
    return n_symbols - n_labels


def padding_id(n_symbols: int, n_labels: int) -> int:
    """The id of PADDING."""
    return first_label(n_symbols, n_labels) - 1
