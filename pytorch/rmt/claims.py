"""The paper's claims against our runs.

Every claim is a set of comparisons of rows of tables or points of figures. An effect is a
difference of means over seeds, or of such differences, with a 95 % confidence interval (Welch's,
for every experiment has a spread of its own).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from rmt.experiments import Row, rows
from rmt.logged_runs import LoggedRun, common_text, links
from rmt.markdown import markdown
from rmt.published import Cell, figure_cells, table_cells
from rmt.scales import fitting_runs, plan

# 97.5 % quantiles of Student's t by degrees of freedom (from any statistical table).
STUDENT = {
    **{1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262},
    **{10: 2.228, 12: 2.179, 16: 2.120, 20: 2.086, 30: 2.042},
}
VERDICTS = ("reproduced at mini scale", "in part", "not seen", "undecided")
VERDICTS += ("not decided yet", "not run")
OPPOSITES = {"higher": "lower", "not lower": "not higher"}
# What counts as the same: that part of the second score; of an accuracy, that much.
MARGIN, ACCURACY_MARGIN = 0.02, 0.025


@dataclass(frozen=True)
class Comparison:
    """A weighted sum of scores, and what the paper says of it.

    what: in words. terms: weights with the experiments. expected: "lower" or "higher" than 0, or
    "same" (0 within the margin), or "not higher" or "not lower" (by more than the margin).
    """

    what: str
    terms: Sequence[tuple[int, Row | Cell]]
    expected: str

    @property
    def of_perplexities(self) -> bool:
        """Whether the scores are perplexities, not bits per character or accuracies."""
        experiment = self.terms[0][1]
        return isinstance(experiment, Row) and experiment.dataset == "wt103"

    @property
    def published(self) -> float:
        return sum(weight * _published(experiment) for weight, experiment in self.terms)


@dataclass(frozen=True)
class Effect:
    """An effect at mini scale, its confidence interval (infinite where an experiment has a single
    seed, and so no spread), verdict, and the runs of every experiment."""

    mean: float
    half_width: float
    verdict: str
    runs: Sequence[Sequence[LoggedRun]]


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims. where: in the paper."""

    text: str
    where: str
    comparisons: Sequence[Comparison]


# --- the claims ----------------------------------------------------------------------------------


def claims() -> list[Claim]:
    """Those that scores decide, in the order of the ledger in results/README.md."""
    [both] = rows("headline")
    return [
        Claim(
            "RMT beats Transformer-XL on copy and reverse as segments grow in number",
            "Figure 4",
            [_rmt_and_trxl(*place, "higher") for place in COPY_AND_REVERSE],
        ),
        Claim(
            "On associative retrieval the two are on par",
            "Figure 4",
            [_rmt_and_trxl("retrieval", 2, 5, "same"), _rmt_and_trxl("retrieval", 5, 2, "same")],
        ),
        Claim(
            "RMT solves 0.99 of the quadratic equations, Transformer-XL 0.93",
            "Table 1",
            [_rmt_and_trxl("quadratic", 6, 30, "higher")],
        ),
        Claim(
            "Memory tokens that are not passed on (MT) are hardly better than none",
            "Tables 2 and 4",
            [_versus("MT 10 - baseline, segment 150", _mt(10), _baseline(150), "not lower")],
        ),
        Claim(
            "One memory vector does what Transformer-XL does with a cache of 10",
            "section 5, Table 4",
            [_versus("RMT 1, BPTT-1 - cache 10", _rmt(1, 1), _trxl(10), "not higher")],
        ),
        Claim(
            "On enwik8 5 memory tokens do what Transformer-XL does with a cache of 40; by the "
            "table, 10 do better than a cache of 10",
            "section 5; Table 3",
            [
                _versus("RMT 5, BPTT-2 - cache 40", _rmt(5, 2, 128), _trxl(40, 128), "not higher"),
                _versus("RMT 10, BPTT-2 - cache 10", _rmt(10, 2, 128), _trxl(10, 128), "lower"),
            ],
        ),
        Claim(
            "The depth of BPTT matters more than the size of the memory",
            "section 5, Table 4",
            [
                _versus("BPTT-3 - BPTT-0, memory 10", _rmt(10, 3), _rmt(10, 0), "lower"),
                Comparison(
                    "that, less memory 25 - memory 5 at BPTT-1",
                    [(1, _rmt(10, 3)), (-1, _rmt(10, 0)), (-1, _rmt(25, 1)), (1, _rmt(5, 1))],
                    "lower",
                ),
                _versus(
                    "enwik8: BPTT-2 - BPTT-0, memory 20",
                    _rmt(20, 2, 128),
                    _rmt(20, 0, 128),
                    "lower",
                ),
                _versus(
                    "enwik8: memory 5 at BPTT-2 - memory 20 at BPTT-0",
                    _rmt(5, 2, 128),
                    _rmt(20, 0, 128),
                    "lower",
                ),
            ],
        ),
        Claim(
            "RMT gains nothing from memory 5 to 50",
            "section 5, Figure 5(d)",
            [
                _versus("memory 50 - memory 5, BPTT-1", _rmt(50, 1), _rmt(5, 1), "not lower"),
                _versus(
                    "enwik8: memory 20 - memory 5, BPTT-2",
                    _rmt(20, 2, 128),
                    _rmt(5, 2, 128),
                    "not lower",
                ),
            ],
        ),
        Claim(
            "A larger visible context lowers perplexity",
            "Figure 5(c)",
            [
                _versus("cache 100 - cache 10", _trxl(100), _trxl(10), "lower"),
                _versus("RMT 10, BPTT-3 - BPTT-1", _rmt(10, 3), _rmt(10, 1), "lower"),
                _versus("baseline, segment 150 - 50", _baseline(150), _baseline(50), "lower"),
            ],
        ),
        Claim(
            "Transformer-XL with memory is better than either",
            "final version, abstract",
            [
                _versus("both - cache 150", both, _trxl(150, 150), "lower"),
                _versus("both - RMT 10, BPTT-3", both, _rmt(10, 3, 150), "lower"),
            ],
        ),
        Claim(
            "RMT compresses 12 tokens into 6 memory tokens, where Transformer-XL has to mix them "
            "into 6 cached states",
            "Figures 7 and 8",
            [_rmt_and_trxl("reverse", 4, 6, "higher"), _rmt_and_trxl("copy", 6, 6, "higher")],
        ),
    ]


COPY_AND_REVERSE = [("copy", 6, 12), ("copy", 9, 8), ("reverse", 4, 12), ("reverse", 6, 8)]


def _rmt_and_trxl(task: str, segments: int, memory: int, expected: str) -> Comparison:
    """RMT less Transformer-XL in one setting of a figure or of Table 1."""
    cells = _cells()
    one, other = (cells[task, model, memory, segments] for model in ("rmt", "trxl"))
    what = f"{task}, {segments} segments, memory {memory}: RMT - Tr-XL"
    return _versus(what, one, other, expected)


def _rmt(memory: int, depth: int, segment_len: int = 50) -> Row:
    return _row(segment_len, "rmt", memory, depth)


def _trxl(memory: int, segment_len: int = 50) -> Row:
    return _row(segment_len, "trxl", memory)


def _mt(memory: int) -> Row:
    return _row(150, "mt", memory)


def _baseline(segment_len: int) -> Row:
    return _row(segment_len, "baseline")


@cache
def _cells() -> dict[tuple, Cell]:
    return {cell.place: cell for cell in figure_cells() + table_cells()}


@cache
def _rows() -> Sequence[Row]:
    """Of Tables 3 and 4, whose segment lengths differ."""
    return rows("table3") + rows("table4")


def _versus(what: str, one: Row | Cell, other: Row | Cell, expected: str) -> Comparison:
    return Comparison(what, [(1, one), (-1, other)], expected)


def _row(segment_len: int, model: str, memory: int = 0, depth: int = 0) -> Row:
    """The last such row: where there are two, the authors' own run."""
    wanted = segment_len, model, memory, depth
    *_, row = (
        row
        for row in _rows()
        if (row.segment_len, row.model, row.memory, row.bptt_unrolls) == wanted
    )
    return row


def _published(experiment: Row | Cell) -> float:
    return experiment.accuracy if isinstance(experiment, Cell) else experiment.score


# --- what our runs say ---------------------------------------------------------------------------


def effect(comparison: Comparison, runs: Sequence[LoggedRun]) -> Effect | None:
    """The effect in runs at mini scale; None where one of the experiments has not run.

    Raises UsageError for runs on different texts.
    """
    terms = [
        (w, fitting_runs(plan(experiment, "mini"), runs)) for w, experiment in comparison.terms
    ]
    common_text([run for _, found in terms for run in found if not run.is_task])
    if not all(found for _, found in terms):
        return None
    groups = [(weight, [run.score for run in found]) for weight, found in terms]
    mean = sum(weight * statistics.mean(scores) for weight, scores in groups)
    half_width = _half_width(groups)
    margin = _margin(comparison, statistics.mean(groups[1][1]))
    verdict = _verdict(comparison.expected, mean, half_width, margin)
    return Effect(mean, half_width, verdict, [found for _, found in terms])


def _margin(comparison: Comparison, second_score: float) -> float:
    """What an effect may be and count as none."""
    is_accuracy = isinstance(comparison.terms[0][1], Cell)
    return ACCURACY_MARGIN if is_accuracy else MARGIN * second_score


def _half_width(groups: Sequence[tuple[int, Sequence[float]]]) -> float:
    """Of the 95 % confidence interval: Welch's, with Satterthwaite's degrees of freedom."""
    if any(len(scores) == 1 for _, scores in groups):
        return math.inf
    errors = [weight**2 * statistics.variance(found) / len(found) for weight, found in groups]
    if not sum(errors):
        return 0.0
    by_freedom = [
        error**2 / (len(found) - 1) for error, (_, found) in zip(errors, groups, strict=True)
    ]
    return _student(sum(errors) ** 2 / sum(by_freedom)) * math.sqrt(sum(errors))


def _student(freedom: float) -> float:
    """The quantile for any degrees of freedom from 1 on, at most a little too large.

    Between the entries of the table on a straight line over 1 / freedom, where the curve is convex.
    """
    by_inverse = sorted((1 / n, quantile) for n, quantile in STUDENT.items())
    return float(np.interp(1 / freedom, *zip(*by_inverse, strict=True)))


def _verdict(expected: str, mean: float, half_width: float, margin: float) -> str:
    """yes, no (the interval excludes it) or unclear."""
    if expected in OPPOSITES:
        return _verdict(OPPOSITES[expected], -mean, half_width, margin)
    low, high = mean - half_width, mean + half_width
    holds, fails = {
        "lower": (high < 0, low > 0),
        "same": (-margin < low and high < margin, high < -margin or low > margin),
        "not higher": (high < margin, low > margin),
    }[expected]
    return "yes" if holds else "no" if fails else "unclear"


def verdict_of(effects: Sequence[Effect | None]) -> str:
    """Of a claim, from those of its comparisons."""
    found = [found.verdict for found in effects if found]
    if not found:
        return "not run"
    n_holding = found.count("yes")
    if n_holding == len(effects):
        return "reproduced at mini scale"
    if n_holding:
        n_failing = found.count("no")
        but = f", {n_failing} not seen" if n_failing else ""
        return f"in part ({n_holding} of {len(effects)}{but})"
    if len(found) < len(effects):
        return "not decided yet"
    return "not seen" if "no" in found else "undecided"


def table(runs: Sequence[LoggedRun], folder: Path) -> str:
    """The ledger of claims in Markdown, a line per comparison.

    folder: where it is kept, to which links are relative.
    """
    head = ["claim", "in the paper", "comparison", "expected", "paper", "ours, 95 % interval"]
    head += ["seeds and their logs", "holds", "verdict"]
    lines = []
    for claim in claims():
        effects = [effect(comparison, runs) for comparison in claim.comparisons]
        first = [claim.text, claim.where]
        for i, (comparison, found) in enumerate(zip(claim.comparisons, effects, strict=True)):
            digits = 2 if comparison.of_perplexities else 3
            line = first if i == 0 else ["", ""]
            line = [*line, comparison.what, comparison.expected]
            line += [f"{comparison.published:+.{digits}f}", *_described(found, digits, folder)]
            lines.append([*line, f"**{verdict_of(effects)}**" if i == 0 else ""])
    return markdown(head, lines, n_words=4)


def summary(runs: Sequence[LoggedRun]) -> str:
    """How many claims got which verdict, in a sentence."""
    effects = [[effect(comparison, runs) for comparison in c.comparisons] for c in claims()]
    verdicts = [verdict_of(found).partition(" (")[0] for found in effects]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts
    )
    return f"Of the paper's claims, {len(verdicts)} can be decided by scores: {counts}.\n"


def _described(found: Effect | None, digits: int, folder: Path) -> list[str]:
    if found is None:
        return ["not run", "", ""]
    text = f"{found.mean:+.{digits}f}"
    if math.isfinite(found.half_width):
        text += f" ± {found.half_width:.{digits}f}"
    return [text, "; ".join(links(same, folder) for same in found.runs), found.verdict]
