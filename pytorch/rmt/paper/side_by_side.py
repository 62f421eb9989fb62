"""RMT and Transformer-XL with as much memory, where a few lines are to show both."""

from dataclasses import dataclass

from rmt.paper.experiments import Experiment, find_row
from rmt.paper.published import cells_by_place

# Of Figure 4 and Table 1: the task, its most segments with their memory, and what is scored.
TASKS = (
    ("copy", 9, 8, "right symbols (guessing: 0.125)"),
    ("reverse", 6, 8, "right symbols (guessing: 0.125)"),
    ("retrieval", 5, 2, "right symbols (guessing: 0.1)"),
    ("quadratic", 6, 30, "right equations (empty answers: 0.2)"),
)


@dataclass(frozen=True)
class Pair:
    """task, score: in words."""

    task: str
    score: str
    rmt: Experiment
    trxl: Experiment


def pairs() -> list[Pair]:
    """The last column of Figure 4, Table 1, and 10 memory tokens with BPTT-1 beside a cache of 10.

    The names of tasks are the paper's.
    """
    cells, found = cells_by_place(), []
    for task, segments, memory, score in TASKS:
        both = (cells[task, model, memory, segments] for model in ("rmt", "trxl"))
        found.append(Pair(f"{task}, {segments} segments", score, *both))
    texts = (
        ("enwik8", "bits per character (less is better)", "table3", 128),
        ("WikiText-103", "perplexity (less is better)", "table4", 50),
    )
    for text, score, table, segment_len in texts:
        both = (find_row(table, *model, segment_len) for model in (("rmt", 10, 1), ("trxl", 10, 0)))
        found.append(Pair(text, score, *both))
    return found
