"""Models of a study beside each other: differences of their means, with the claims' interval."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Of what the first has more than the second. what: both, for people."""

    what: str
    first: Plan
    second: Plan


def segments() -> list[Gap]:
    """Memory against a cache, and against nothing, by the length of segments."""
    gaps = []
    for n in SEGMENTS:
        own = with_segments(n, True)
        rmt = own["rmt10-bptt1"]
        gaps.append(Gap(f"segments of {n}: RMT 10 - cache 10", rmt, own["trxl10"]))
        gaps.append(Gap(f"segments of {n}: RMT 10 - baseline", rmt, own["baseline"]))
    return gaps


def segments_scaled() -> list[Gap]:
    """The same with memory and cache that grow with the segment, and with a cache that does not."""
    gaps = []
    for n in SEGMENTS:
        own, m = scaled_with_segments(n, True), n // PARTS_OF_SEGMENT
        baseline = with_segments(n, True)["baseline"]
        gaps.append(Gap(f"segments of {n}: RMT {m} - cache {m}", own["rmt"], own["trxl"]))
        gaps.append(Gap(f"segments of {n}: RMT {m} - cache 20", own["rmt"], own["trxl20"]))
        gaps.append(Gap(f"segments of {n}: RMT {m} - baseline", own["rmt"], baseline))
    return gaps


def warm_start() -> list[Gap]:
    """What it is worth to begin with a trained Transformer-XL."""
    plans = {own.name: own for own in STUDIES["warm_start"](True)}
    cold = plans["enwik8-replay-1"]
    warm, longer = plans[f"{cold.name}-from-trxl10"], plans[f"{cold.name}-longer"]
    return [
        Gap("RMT: warm - cold", warm, cold),
        Gap("RMT: cold with 4,000 steps - warm with 2,000", longer, warm),
    ]


def grid() -> list[Gap]:
    """What the first segment of gradient is worth, what more of them add, and what memory does."""

    def gap(what: str, first: tuple[int, int], second: tuple[int, int]) -> Gap:
        return Gap(what, in_grid(*first, True), in_grid(*second, True))

    gaps, deepest = [], GRID_DEPTHS[-1]
    for m in GRID_MEMORIES:
        gaps.append(gap(f"memory {m}: BPTT-1 - BPTT-0", (m, 1), (m, 0)))
        gaps.append(gap(f"memory {m}: BPTT-{deepest} - BPTT-1", (m, deepest), (m, 1)))
    least, most = GRID_MEMORIES[0], GRID_MEMORIES[-1]
    for depth in GRID_DEPTHS:
        what = f"BPTT-{depth}: memory {most} - memory {least}"
        gaps.append(gap(what, (most, depth), (least, depth)))
    return gaps


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
    first, second = (fitting_runs(own, runs) for own in (gap.first, gap.second))
    common_text([*first, *second])
    scores = [[run.score for run in side] for side in (first, second)]
    difference, half_width = sum_of_means([(1, scores[0]), (-1, scores[1])])
    digits, seeds = first[0].digits, f"{len(first)} and {len(second)}"
    effect = [f"{difference:+.{digits}f}", written(half_width, digits)]
    return [gap.what, first[0].metric.name, *effect, seeds]
