"""The ledger: what our runs say of the paper's claims (claims.py), with certainty.

An effect is a difference of means over seeds, or of such differences, with a 95 % confidence
interval (Welch's).

A comparison counts for a claim only if its experiments are trained alike: they may differ in what
the paper varies (VARIED), and in nothing else; or each is the best of the same trainings (arms.py).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rmt.paper.claims import Claim, Comparison, claims
from rmt.paper.experiments import Experiment
from rmt.reproduction.arms import best_of_each
from rmt.reproduction.confidence import sum_of_means, with_interval
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.scales import plan
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, anchor, common_text, links, markdown

NOT_ALIKE, CONTRADICTED, UNDECIDED = "not compared alike", "contradicted", "undecided"
# What the paper varies, as options; where segments have other lengths batches have other sizes.
VARIED = frozenset(("model", "mem_len", "cache_len", "tgt_len", "bptt_unrolls"))
VERDICTS = (
    "reproduced at mini scale",
    "in part",
    CONTRADICTED,
    UNDECIDED,
    "incomplete",
    NOT_ALIKE,
    NOT_RUN,
)
# What counts as the same: that part of the score that is subtracted; of an accuracy, that much.
MARGIN, ACCURACY_MARGIN = 0.02, 0.025


@dataclass(frozen=True)
class Effect:
    """An effect at mini scale, its confidence interval (infinite where an experiment has a single
    seed, and so no spread), verdict, and the runs of every experiment.

    Where one of these has no runs the verdict is NOT_RUN, and the effect is not a number.
    differs: what else than the paper varies is not the same in all of them.
    """

    mean: float
    half_width: float
    verdict: str
    runs: Sequence[Sequence[LoggedRun]]
    differs: Sequence[str] = ()

    @property
    def has_run(self) -> bool:
        return self.verdict != NOT_RUN

    @property
    def counts(self) -> bool:
        return self.has_run and not self.differs


def effect(comparison: Comparison, runs: Sequence[LoggedRun]) -> Effect:
    """The effect in runs at mini scale.

    Raises UsageError for runs on different texts.
    """
    weights, experiments = zip(*comparison.terms, strict=True)
    found_runs, differs, _ = runs_of(experiments, runs)
    terms = list(zip(weights, found_runs, strict=True))
    common_text([run for found in found_runs for run in found])
    if not all(found_runs):
        return Effect(math.nan, math.inf, NOT_RUN, found_runs, differs)
    groups = [(weight, [run.score for run in found]) for weight, found in terms]
    mean, half_width = sum_of_means(groups)
    mean -= comparison.level
    said = verdict(comparison, mean, half_width, statistics.mean(groups[-1][1]))
    return Effect(mean, half_width, said, found_runs, differs)


class Compared(NamedTuple):
    """Of experiments that are compared: the runs of each, and what differs (not_alike).

    best: whether each is its best of the same trainings (arms); then nothing differs.
    """

    runs: list[Sequence[LoggedRun]]
    differs: list[str]
    best: bool


def runs_of(experiments: Sequence[Experiment], runs: Sequence[LoggedRun]) -> Compared:
    if best := best_of_each(experiments, runs):
        return Compared([arm.runs for arm in best], [], best=True)
    plans = [plan(experiment, "mini") for experiment in experiments]
    return Compared([fitting_runs(own, runs) for own in plans], not_alike(plans), best=False)


def not_alike(plans: Sequence[Plan]) -> list[str]:
    """The options, but for VARIED, in which some plans differ."""
    settings = [own.compared for own in plans]

    def differs(name: str) -> bool:
        return any(own.get(name) != settings[0].get(name) for own in settings)

    free = VARIED | ({"batch_size"} if differs("tgt_len") else set())
    names = dict.fromkeys(name for own in settings for name in own)
    return [name for name in names if name not in free and differs(name)]


def verdict(comparison: Comparison, mean: float, half_width: float, last_score: float) -> str:
    """yes, no (the interval excludes it) or unclear; last_score is that of the last term."""
    margin = margin_of(comparison, last_score)
    low, high = mean - half_width, mean + half_width
    holds, fails = {
        "lower": (high < 0, low > 0),
        "higher": (low > 0, high < 0),
        "same": (-margin < low and high < margin, high < -margin or low > margin),
        "not higher": (high < margin, low > margin),
        "not lower": (low > -margin, high < -margin),
    }[comparison.expected]
    return "yes" if holds else "no" if fails else "unclear"


def margin_of(comparison: Comparison, last_score: float) -> float:
    """How large an effect still counts as none."""
    return ACCURACY_MARGIN if comparison.unit == "accuracy" else MARGIN * last_score


def verdict_of(effects: Sequence[Effect]) -> str:
    """Of a claim, from those of its comparisons."""
    if not any(own.has_run for own in effects):
        return NOT_RUN
    found = [own.verdict for own in effects if own.counts]
    n_unlike = sum(bool(own.differs) for own in effects)
    n_left = len(effects) - len(found) - n_unlike
    n_holding, n_failing, n_unclear = (found.count(own) for own in ("yes", "no", "unclear"))
    if n_holding == len(effects):
        return "reproduced at mini scale"
    if n_holding:
        others = {
            CONTRADICTED: n_failing,
            UNDECIDED: n_unclear,
            "not alike": n_unlike,
            NOT_RUN: n_left,
        }
        told = [f"{n} {what}" for what, n in others.items() if n]
        return f"in part ({', '.join([f'{n_holding} of {len(effects)}', *told])})"
    if n_unlike or n_left:
        failing = f" ({n_failing} {CONTRADICTED})" if n_failing else ""
        return (NOT_ALIKE if n_unlike else "incomplete") + failing
    if not n_failing:
        return UNDECIDED
    return CONTRADICTED + (f" ({n_unclear} {UNDECIDED})" if n_unclear else "")


# A claim with the effects of its comparisons.
Judged = tuple[Claim, list[Effect]]


def judge(runs: Sequence[LoggedRun]) -> list[Judged]:
    """All claims, in their order. Raises UsageError for runs on different texts."""
    return [
        (claim, [effect(comparison, runs) for comparison in claim.comparisons])
        for claim in claims()
    ]


def overview(judged: Sequence[Judged], page: str) -> str:
    """A line per claim in Markdown, with the effect of its first comparison.

    page: the one that has them all, as links name it.
    """
    head = ["claim", "verdict", "such as", "in the paper", "here, 95 % interval", "unit", "seeds"]
    lines = []
    for i, (claim, effects) in enumerate(judged, start=1):
        first, found = claim.comparisons[0], effects[0]
        link = f"{page}#{anchor(_heading(i, claim))}"
        line = [f"[{claim.text}]({link})", verdict_of(effects), first.what]
        line += [_signed(first.published, first), _interval(found, first), first.unit]
        lines.append([*line, " and ".join(str(len(same)) for same in found.runs)])
    return markdown(head, lines, n_words=3)


def verdicts(judged: Sequence[Judged]) -> str:
    """How many claims got which verdict, and a line for each in Markdown, the best first."""
    lines = [(claim.text, claim.where, verdict_of(effects)) for claim, effects in judged]
    lines.sort(key=lambda line: VERDICTS.index(_kind(line[-1])))
    head = ["the paper claims", "where", "here"]
    return f"{summary(judged)}\n{markdown(head, lines, n_words=3)}"


def details(judged: Sequence[Judged], folder: Path) -> str:
    """Every claim in Markdown, with a line per comparison.

    folder: where it is kept, to which links are relative.
    """
    head = ["comparison", "expected", "in the paper", "here, 95 % interval", "unit", "holds"]
    head += ["seeds and their logs"]
    parts = []
    for i, (claim, effects) in enumerate(judged, start=1):
        lines = []
        for comparison, found in zip(claim.comparisons, effects, strict=True):
            line = [comparison.what, comparison.expected]
            line += [_signed(comparison.published, comparison), _interval(found, comparison)]
            line += [comparison.unit, _holds(found)]
            logs = [links(same, folder) or NOT_RUN for same in found.runs]
            lines.append([*line, "; ".join(logs) if any(found.runs) else ""])
        said = f"{claim.where[0].upper()}{claim.where[1:]}. **{verdict_of(effects).capitalize()}.**"
        parts.append(f"### {_heading(i, claim)}\n\n{said}\n\n{markdown(head, lines, n_words=2)}")
    return "\n".join(parts)


def _holds(found: Effect) -> str:
    if not found.has_run:
        return ""
    if found.differs:
        return f"{found.verdict}, not alike: {' and '.join(found.differs)}"
    return found.verdict


def _heading(i: int, claim: Claim) -> str:
    return f"{i}. {claim.text}"


def summary(judged: Sequence[Judged]) -> str:
    """How many claims got which verdict, in a sentence."""
    kinds = [_kind(verdict_of(effects)) for _, effects in judged]
    whole, *others = VERDICTS
    counts = [f"{kinds.count(whole)} reproduced in full"]
    counts += [f"{kinds.count(kind)} {kind}" for kind in others if kind in kinds]
    return f"{len(kinds)} claims of the paper are checked by scores: {', '.join(counts)}.\n"


def _kind(verdict: str) -> str:
    """One of VERDICTS, without the numbers of comparisons."""
    return verdict.partition(" (")[0]


def _signed(effect: float, comparison: Comparison) -> str:
    return f"{effect:+.{_digits(comparison)}f}"


def _interval(found: Effect, comparison: Comparison) -> str:
    if not found.has_run:
        return NOT_RUN
    return with_interval(found.mean, found.half_width, _digits(comparison))


def _digits(comparison: Comparison) -> int:
    return 2 if comparison.unit == "ppl" else 3
