"""RMT and Transformer-XL with as much memory, where a few lines are to show both."""

from dataclasses import dataclass

from rmt.paper.experiments import Experiment, Row, rows
from rmt.paper.published import figure_cells

# Of Figure 4: the task, its most segments with their memory, and the score of guessing.
LAST_COLUMN = (("copy", 9, 8, 0.125), ("reverse", 6, 8, 0.125), ("retrieval", 5, 2, 0.1))


@dataclass(frozen=True)
class Pair:
    """task, score: in words."""

    task: str
    score: str
    rmt: Experiment
    trxl: Experiment


def pairs() -> list[Pair]:
    """The last column of Figure 4, and 10 memory tokens with BPTT-1 beside a cache of 10."""
    cells = {cell.place: cell for cell in figure_cells()}
    found = []
    for task, segments, memory, guessing in LAST_COLUMN:
        both = (cells[task, model, memory, segments] for model in ("rmt", "trxl"))
        score = f"right symbols (guessing: {guessing})"
        found.append(Pair(f"{task}, {segments} segments", score, *both))
    texts = (
        ("enwik8", "bits per character (less is better)", "table3", 128),
        ("WikiText-103", "perplexity (less is better)", "table4", 50),
    )
    for text, score, table, segment_len in texts:
        found.append(Pair(text, score, *_of_text(table, segment_len)))
    return found


def _of_text(table: str, segment_len: int) -> tuple[Row, Row]:
    by_place = {(row.model, row.memory, row.depth, row.segment_len): row for row in rows(table)}
    return by_place["rmt", 10, 1, segment_len], by_place["trxl", 10, 0, segment_len]
