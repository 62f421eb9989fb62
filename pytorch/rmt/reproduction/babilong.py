"""Accuracy on facts in a long text by kind and length, as the benchmark BABILong shows it.

From files that rmt.eval --json wrote, one for each kind and length:

    python -m rmt.eval --work_dir RUN --questions two --sample_len 4096 --split test --json FILE

babilong has kinds of questions (--questions), facts has its --kind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rmt.reproduction.sizes import read_test_score
from rmt.runs.reports import markdown, percent
from rmt.runtime.errors import UsageError

# By kind of question and tokens of a sample.
Scores = dict[tuple[str, int], float]


def read_scores(files: Sequence[Path]) -> Scores:
    """The test accuracy of whole answers in every file.

    Raises UsageError for a file that holds none, and for two of one kind and length.
    """
    found: Scores = {}
    for path in files:
        place, score = read_test_score(path, _place, "babilong or facts")
        if place in found:
            raise UsageError(f"{path} is of {place[0]} with {place[1]} tokens, as another file is")
        found[place] = score
    return found


def _place(samples: Mapping) -> tuple[str, int]:
    kind = samples["questions"] if "questions" in samples else samples["kind"]
    return kind, samples["sample_len"]


def as_matrix(scores: Scores) -> tuple[list[str], list[int], np.ndarray]:
    """Kinds, lengths and the accuracies, [kinds, lengths]; not a number where there is none."""
    kinds = list(dict.fromkeys(kind for kind, _ in scores))
    lengths = sorted({length for _, length in scores})
    rows = [[scores.get((kind, length), np.nan) for length in lengths] for kind in kinds]
    return kinds, lengths, np.array(rows)


def babilong_table(files: Sequence[Path]) -> str:
    """In Markdown, with the mean over kinds in the last row."""
    kinds, lengths, matrix = as_matrix(read_scores(files))
    rows = [[kind, *map(percent, row)] for kind, row in zip(kinds, matrix, strict=True)]
    rows.append(["mean", *map(percent, matrix.mean(axis=0))])
    return markdown(["questions", *(f"{length:,}" for length in lengths)], rows)


def draw_babilong(files: Sequence[Path], out: Path) -> None:
    """As a map of colours, with the numbers in it."""
    from rmt.reproduction.accuracy_map import draw_map  # late: the table needs no matplotlib

    kinds, lengths, matrix = as_matrix(read_scores(files))
    draw_map(kinds, lengths, matrix, "tokens of a sample", "right answers, %", out)
