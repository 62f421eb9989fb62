"""Models of a study beside each other: differences of their means, with the claims' interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from rmt.reproduction.confidence import sum_of_means, written
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.studies.registry import STUDIES
from rmt.reproduction.studies.text import (
    GRID_DEPTHS,
    GRID_MEMORIES,
    PARTS_OF_SEGMENT,
    SEGMENTS,
    in_grid,
    scaled_with_segments,
    with_segments,
)
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import common_text, markdown


@dataclass(frozen=True)
class Gap:
    """Of what the first have more than the second, in the mean, each as heavy as every other.

    what: both, for people. first, second: as many of the one as of the other.
    """

    what: str
    first: list[Plan]
    second: list[Plan]


def segments() -> list[Gap]:
    """Memory against a cache, and against nothing, by the length of segments."""
    gaps = []
    for n in SEGMENTS:
        own = with_segments(n, True)
        rmt = own["rmt10-bptt1"]
        gaps.append(Gap(f"segments of {n}: RMT 10 - cache 10", [rmt], [own["trxl10"]]))
        gaps.append(Gap(f"segments of {n}: RMT 10 - baseline", [rmt], [own["baseline"]]))
    return gaps


def segments_scaled() -> list[Gap]:
    """The same with memory and cache that grow with the segment, and with a cache that does not."""
    gaps = []
    for n in SEGMENTS:
        own, m = scaled_with_segments(n, True), n // PARTS_OF_SEGMENT
        baseline = with_segments(n, True)["baseline"]
        gaps.append(Gap(f"segments of {n}: RMT {m} - cache {m}", [own["rmt"]], [own["trxl"]]))
        gaps.append(Gap(f"segments of {n}: RMT {m} - cache 20", [own["rmt"]], [own["trxl20"]]))
        gaps.append(Gap(f"segments of {n}: RMT {m} - baseline", [own["rmt"]], [baseline]))
    return gaps


def warm_start() -> list[Gap]:
    """What it is worth to begin with a trained Transformer-XL."""
    plans = {own.name: own for own in STUDIES["warm_start"](True)}
    cold = plans["enwik8-replay-1"]
    warm, longer = plans[f"{cold.name}-from-trxl10"], plans[f"{cold.name}-longer"]
    return [
        Gap("RMT: warm - cold", [warm], [cold]),
        Gap("RMT: cold with 4,000 steps - warm with 2,000", [longer], [warm]),
    ]


def grid() -> list[Gap]:
    """What the first segment of gradient is worth, and what more of them add, with every memory and
    with all; what many memory tokens do beside one, with every depth and with all."""
    gaps, deepest = [], GRID_DEPTHS[-1]
    each = [(f"memory {m}", [m]) for m in GRID_MEMORIES]
    for name, memories in (*each, ("all memories", GRID_MEMORIES)):
        none, one, more = (_in_grid(memories, [depth]) for depth in (0, 1, deepest))
        gaps.append(Gap(f"{name}: BPTT-1 - BPTT-0", one, none))
        gaps.append(Gap(f"{name}: BPTT-{deepest} - BPTT-1", more, one))
    least, most = GRID_MEMORIES[0], GRID_MEMORIES[-1]
    each = [(f"BPTT-{depth}", [depth]) for depth in GRID_DEPTHS]
    for name, depths in (*each, ("all depths", GRID_DEPTHS)):
        many, few = _in_grid([most], depths), _in_grid([least], depths)
        gaps.append(Gap(f"{name}: memory {most} - memory {least}", many, few))
    return gaps


def _in_grid(memories: Sequence[int], depths: Sequence[int]) -> list[Plan]:
    return [in_grid(memory, depth, True) for memory, depth in product(memories, depths)]


# By the study; their tables are made when nothing of it is missing.
GAPS = {
    "segments": segments,
    "segments_scaled": segments_scaled,
    "warm_start": warm_start,
    "grid": grid,
}


def gaps_table(study: str, runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each of the GAPS of a study, of which everything has run.

    Raises UsageError for runs on different texts.
    """
    head = ["models", "score", "difference", "95 % interval", "seeds"]
    return markdown(head, [_row(gap, runs) for gap in GAPS[study]()], n_words=2)


def _row(gap: Gap, runs: Sequence[LoggedRun]) -> list[str]:
    first, second = ([fitting_runs(own, runs) for own in side] for side in (gap.first, gap.second))
    every = [run for same in first + second for run in same]
    common_text(every)
    sides = ((1 / len(first), first), (-1 / len(second), second))
    scores = [(weight, [run.score for run in same]) for weight, side in sides for same in side]
    difference, half_width = sum_of_means(scores)
    digits = every[0].digits
    seeds = " and ".join(str(sum(map(len, side))) for side in (first, second))
    effect = [f"{difference:+.{digits}f}", written(half_width, digits)]
    return [gap.what, every[0].metric.name, *effect, seeds]
