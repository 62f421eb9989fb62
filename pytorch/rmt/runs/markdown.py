"""Tables in Markdown."""

import statistics
from collections.abc import Sequence

NOT_RUN = "not run"  # in the place of a number, or of a table


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], n_words: int = 1) -> str:
    """A table; the first n_words columns are words, the others are numbers, on the right."""
    rules = ["---"] * n_words + ["---:"] * (len(head) - n_words)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows)) + "\n"


def mean_and_spread(scores: Sequence[float], digits: int) -> str:
    """Mean and, from two scores on, sample standard deviation."""
    text = f"{statistics.mean(scores):.{digits}f}"
    if len(scores) > 1:
        text += f" ± {statistics.stdev(scores):.{digits}f}"
    return text
