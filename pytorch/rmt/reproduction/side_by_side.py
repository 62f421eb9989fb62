"""RMT beside Transformer-XL in a few lines: what the README shows."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rmt.paper.side_by_side import pairs
from rmt.reproduction.confidence import sum_of_means, with_interval
from rmt.reproduction.ledger import not_alike, runs_of
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import plan
from rmt.reproduction.studies.text import SEGMENTS, with_segments
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, common_text, markdown

HEAD = ("task", "score", "memory", "RMT", "Transformer-XL", "RMT - Tr-XL, 95 % interval", "ahead")
# What options are called on the page.
WORDS = {"curriculum": "lessons", "init": "initial weights"}


@dataclass(frozen=True)
class Sides:
    """Runs of RMT and of Transformer-XL on a task.

    memory: tokens of RMT, and as many cached states. alike: whether they are trained so, in words.
    """

    task: str
    score: str
    memory: int
    rmt: Sequence[LoggedRun]
    trxl: Sequence[LoggedRun]
    alike: str


def side_by_side(runs: Sequence[LoggedRun]) -> str:
    """In Markdown, at mini scale. Raises UsageError for runs on different texts."""
    lines = [_line(sides) for sides in _all_sides(runs)]
    return markdown([*HEAD, "seeds", "trained alike?"], lines, n_words=2)


def _all_sides(runs: Sequence[LoggedRun]) -> list[Sides]:
    """Those of the paper; beside the text of the study `segments` its longest ones, the paper's."""
    longest = with_segments(SEGMENTS[-1], True)
    both_longest = [longest["rmt10-bptt1"], longest["trxl10"]]
    found = []
    for pair in pairs():
        both, differs, best = runs_of((pair.rmt, pair.trxl), runs)
        alike = "yes: each one's best of four" if best else _alike(differs)
        own = plan(pair.rmt, "mini")
        length = "" if own.is_task else _segments(own.settings.train.tgt_len)
        memory = own.model.memory
        found.append(Sides(pair.task + length, pair.score, memory, *both, alike))
        if own.dataset == both_longest[0].dataset:
            task = pair.task + _segments(SEGMENTS[-1])
            both = [fitting_runs(each, runs) for each in both_longest]
            memory = both_longest[0].model.memory
            alike = _alike(not_alike(both_longest))
            found.append(Sides(task, pair.score, memory, *both, alike))
    return found


def _segments(length: int) -> str:
    return f", segments of {length}"


def _alike(differs: Sequence[str]) -> str:
    differing = " and ".join(WORDS.get(name, name) for name in differs)
    return f"no: {differing}" if differing else "yes"


def _line(sides: Sides) -> list[str]:
    common_text([*sides.rmt, *sides.trxl])
    scores = [[run.score for run in side] for side in (sides.rmt, sides.trxl)]
    difference, ahead = NOT_RUN, ""
    if all(scores):
        digits = sides.rmt[0].digits
        mean, half_width = sum_of_means([(1, scores[0]), (-1, scores[1])])
        difference = with_interval(mean, half_width, digits)
        ahead = _ahead(mean, half_width, sides.rmt[0].metric.lower_is_better)
    return [
        sides.task,
        sides.score,
        str(sides.memory),
        _mean(sides.rmt),
        _mean(sides.trxl),
        difference,
        ahead,
        f"{len(sides.rmt)} and {len(sides.trxl)}",
        sides.alike,
    ]


def _ahead(mean: float, half_width: float, lower_is_better: bool) -> str:
    """Which of the two; undecided where the interval holds both."""
    if abs(mean) <= half_width:
        return "undecided"
    return "RMT" if (mean < 0) == lower_is_better else "Tr-XL"


def _mean(runs: Sequence[LoggedRun]) -> str:
    if not runs:
        return NOT_RUN
    return f"{statistics.mean(run.score for run in runs):.{runs[0].digits}f}"
