"""The ledger: what our runs say of the paper's claims (claims.py), with certainty.

An effect is a difference of means over seeds, or of such differences, with a 95 % confidence
interval (Welch's, for every experiment has a spread of its own).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.paper.claims import Claim, Comparison, claims
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import plan
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, common_text, links, markdown

# 97.5 % quantiles of Student's t by degrees of freedom (from any statistical table).
STUDENT = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    12: 2.179,
    16: 2.120,
    20: 2.086,
    30: 2.042,
}
VERDICTS = (
    "reproduced at mini scale",
    "in part",
    "not seen",
    "undecided",
    "not decided yet",
    NOT_RUN,
)
# What counts as the same: that part of the score that is subtracted; of an accuracy, that much.
MARGIN, ACCURACY_MARGIN = 0.02, 0.025


@dataclass(frozen=True)
class Effect:
    """An effect at mini scale, its confidence interval (infinite where an experiment has a single
    seed, and so no spread), verdict, and the runs of every experiment.

    Where one of these has no runs the verdict is NOT_RUN, and the effect is not a number.
    """

    mean: float
    half_width: float
    verdict: str
    runs: Sequence[Sequence[LoggedRun]]


def effect(comparison: Comparison, runs: Sequence[LoggedRun]) -> Effect:
    """The effect in runs at mini scale.

    Raises UsageError for runs on different texts.
    """
    terms = [
        (w, fitting_runs(plan(experiment, "mini"), runs)) for w, experiment in comparison.terms
    ]
    common_text([run for _, found in terms for run in found if not run.is_task])
    found_runs = [found for _, found in terms]
    if not all(found_runs):
        return Effect(math.nan, math.inf, NOT_RUN, found_runs)
    groups = [(weight, [run.score for run in found]) for weight, found in terms]
    mean = sum(w * statistics.mean(scores) for w, scores in groups) - comparison.level
    half_width = _half_width(groups)
    said = verdict(comparison, mean, half_width, statistics.mean(groups[-1][1]))
    return Effect(mean, half_width, said, found_runs)


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
    return student_quantile(sum(errors) ** 2 / sum(by_freedom)) * math.sqrt(sum(errors))


def student_quantile(freedom: float) -> float:
    """Student's 97.5 % quantile for any degrees of freedom from 1 on, at most a little too large.

    Between the entries of the table on a straight line over 1 / freedom, where the curve is convex.
    """
    by_inverse = sorted((1 / n, quantile) for n, quantile in STUDENT.items())
    return float(np.interp(1 / freedom, *zip(*by_inverse, strict=True)))


def verdict(comparison: Comparison, mean: float, half_width: float, last_score: float) -> str:
    """yes, no (the interval excludes it) or unclear; last_score is that of the last term."""
    margin = ACCURACY_MARGIN if comparison.unit == "accuracy" else MARGIN * last_score
    low, high = mean - half_width, mean + half_width
    holds, fails = {
        "lower": (high < 0, low > 0),
        "higher": (low > 0, high < 0),
        "same": (-margin < low and high < margin, high < -margin or low > margin),
        "not higher": (high < margin, low > margin),
        "not lower": (low > -margin, high < -margin),
    }[comparison.expected]
    return "yes" if holds else "no" if fails else "unclear"


def verdict_of(effects: Sequence[Effect]) -> str:
    """Of a claim, from those of its comparisons."""
    found = [own.verdict for own in effects if own.verdict != NOT_RUN]
    if not found:
        return NOT_RUN
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


# A claim with the effects of its comparisons.
Judged = tuple[Claim, list[Effect]]


def judge(runs: Sequence[LoggedRun]) -> list[Judged]:
    """All claims, in their order. Raises UsageError for runs on different texts."""
    return [
        (claim, [effect(comparison, runs) for comparison in claim.comparisons])
        for claim in claims()
    ]


def table(judged: Sequence[Judged], folder: Path) -> str:
    """The ledger of claims in Markdown, a line per comparison.

    folder: where it is kept, to which links are relative.
    """
    head = ["claim", "in the paper", "comparison", "expected", "paper", "ours, 95 % interval"]
    head += ["unit", "seeds and their logs", "holds", "verdict"]
    lines = []
    for claim, effects in judged:
        first = [claim.text, claim.where]
        for i, (comparison, found) in enumerate(zip(claim.comparisons, effects, strict=True)):
            digits = 2 if comparison.unit == "ppl" else 3
            line = first if i == 0 else ["", ""]
            line = [*line, comparison.what, comparison.expected]
            line += [f"{comparison.published:+.{digits}f}", _interval(found, digits)]
            line.append(comparison.unit)
            logs = [links(same, folder) or NOT_RUN for same in found.runs]
            line.append("; ".join(logs) if any(found.runs) else "")
            line.append("" if found.verdict == NOT_RUN else found.verdict)
            lines.append([*line, f"**{verdict_of(effects)}**" if i == 0 else ""])
    return markdown(head, lines, n_words=4)


def summary(judged: Sequence[Judged]) -> str:
    """How many claims got which verdict, in a sentence."""
    verdicts = [verdict_of(effects).partition(" (")[0] for _, effects in judged]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts
    )
    return f"Of {len(verdicts)} of the paper's claims: {counts}.\n"


def _interval(found: Effect, digits: int) -> str:
    if found.verdict == NOT_RUN:
        return NOT_RUN
    interval = f" ± {found.half_width:.{digits}f}" if math.isfinite(found.half_width) else ""
    return f"{found.mean:+.{digits}f}{interval}"
