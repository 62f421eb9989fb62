"""RMT beside Transformer-XL in a few lines: what the README shows."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rmt.paper.side_by_side import pairs
from rmt.reproduction.confidence import sum_of_means, written
from rmt.reproduction.ledger import not_alike, runs_of
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import plan
from rmt.reproduction.studies.text import SEGMENTS, with_segments
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, common_text, markdown

HEAD = ("task", "score", "RMT", "Transformer-XL", "RMT - Tr-XL, 95 % interval", "ahead")
# What options are called on the page.
WORDS = {"curriculum": "lessons", "init": "initial weights"}


@dataclass(frozen=True)
class Sides:
    """Runs of RMT and of Transformer-XL on a task. differs: what else is not the same."""

    task: str
    score: str
    rmt: Sequence[LoggedRun]
    trxl: Sequence[LoggedRun]
    differs: Sequence[str]


def side_by_side(runs: Sequence[LoggedRun]) -> str:
    """In Markdown, at mini scale. Raises UsageError for runs on different texts."""
    lines = []
    for sides in _of_the_paper(runs):
        lines.append(_line(sides))
        if sides.task.startswith("enwik8"):
            lines.append(_line(_longest_segments(sides, runs)))
    return markdown([*HEAD, "seeds", "trained alike?"], lines, n_words=2)


def _of_the_paper(runs: Sequence[LoggedRun]) -> list[Sides]:
    found = []
    for pair in pairs():
        both, differs = runs_of((pair.rmt, pair.trxl), runs)
        own = plan(pair.rmt, "mini")
        length = "" if own.is_task else _segments(own.settings.train.tgt_len)
        found.append(Sides(pair.task + length, pair.score, *both, differs))
    return found


def _longest_segments(shorter: Sides, runs: Sequence[LoggedRun]) -> Sides:
    """The same models and text with the paper's segments, of the study `segments`."""
    plans = with_segments(SEGMENTS[-1], True)
    both = [plans["rmt10-bptt1"], plans["trxl10"]]
    task = shorter.task.partition(",")[0] + _segments(SEGMENTS[-1])
    found = [fitting_runs(own, runs) for own in both]
    return Sides(task, shorter.score, *found, not_alike(both))


def _segments(length: int) -> str:
    return f", segments of {length}"


def _line(sides: Sides) -> list[str]:
    common_text([*sides.rmt, *sides.trxl])
    scores = [[run.score for run in side] for side in (sides.rmt, sides.trxl)]
    difference, ahead = NOT_RUN, ""
    if all(scores):
        digits = sides.rmt[0].digits
        mean, half_width = sum_of_means([(1, scores[0]), (-1, scores[1])])
        difference = f"{mean:+.{digits}f} {written(half_width, digits)}".rstrip()
        ahead = _ahead(mean, half_width, sides.rmt[0].metric.lower_is_better)
    differing = " and ".join(WORDS.get(name, name) for name in sides.differs)
    return [
        sides.task,
        sides.score,
        _mean(sides.rmt),
        _mean(sides.trxl),
        difference,
        ahead,
        f"{len(sides.rmt)} and {len(sides.trxl)}",
        f"no: {differing}" if differing else "yes",
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
