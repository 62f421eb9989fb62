"""What one change does to a score: runs with it against runs without, by their seeds.

A seed gives both the order of the samples, and most weights to begin with. So the interval is that
of the seeds' differences, by Student's distribution.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rmt.reproduction.ledger import student_quantile
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.sizes import scores_of
from rmt.reproduction.studies.common import bases_of
from rmt.reproduction.studies.pretrained import DEPTHS
from rmt.reproduction.studies.registry import STUDIES
from rmt.reproduction.studies.text import SEGMENTS, scaled_with_segments, with_segments
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import markdown

STEPS = "steps"


@dataclass(frozen=True)
class Pair:
    """Two plans that one change tells apart.

    what: for people. size: of the samples that both were tested on, where it is not their own.
    score: what is compared: "" for a run's own, STEPS for how many it took to learn a task.
    """

    what: str
    changed: Plan
    base: Plan
    size: int | None = None
    score: str = ""


@dataclass(frozen=True)
class Compared:
    """What the change of a pair did: score is its name, seeds those that both have, and base and
    changed their scores, in the order of the seeds."""

    score: str
    digits: int
    seeds: Sequence[int]
    base: Sequence[float]
    changed: Sequence[float]

    @property
    def told(self) -> list[str]:
        """The mean difference, half the interval's width, and how many seeds there are."""
        differences = [new - old for new, old in zip(self.changed, self.base, strict=True)]
        n, width = len(differences), ""
        if n > 1:
            error = statistics.stdev(differences) / math.sqrt(n)
            width = f"± {student_quantile(n - 1) * error:,.{self.digits}f}"
        return [f"{statistics.mean(differences):+,.{self.digits}f}", width, f"{n}"]

    @property
    def means(self) -> list[str]:
        """Of the base, and with the change."""
        return [f"{statistics.mean(some):,.{self.digits}f}" for some in (self.base, self.changed)]


def compare(pair: Pair, runs: Sequence[LoggedRun]) -> Compared | None:
    """None where no seed has run with the change and without."""
    base, changed = (
        {run.seed: run for run in fitting_runs(own, runs)} for own in (pair.base, pair.changed)
    )
    seeds = [seed for seed in base if seed in changed]
    if not seeds:
        return None
    name = pair.score or base[seeds[0]].metric.name
    return Compared(
        "share of right answers" if pair.size else name,
        0 if pair.score == STEPS else 3,
        seeds,
        [_measured(pair, base[seed]) for seed in seeds],
        [_measured(pair, changed[seed]) for seed in seeds],
    )


def _measured(pair: Pair, run: LoggedRun) -> float:
    if pair.size is not None:
        return dict(scores_of(run))[pair.size]
    return run.result["steps"] if pair.score == STEPS else run.score


# --- memory around pretrained models -------------------------------------------------------------

LONG = 8192  # tokens
GPT2, SMOLLM, MINILM = "text-gpt2-16", "text-smollm2", "memorize7-minilm"


def memory_added() -> list[Pair]:
    return [
        _named("MiniLM, 256 segments", "minilm", f"{MINILM}-mem10", MINILM, LONG),
        *(
            _named(f"GPT-2, BPTT-{n}", "wrapped_gpt2", f"{GPT2}-mem10-bptt{n}", GPT2)
            for n in DEPTHS
        ),
        *(
            _named(f"SmolLM2, BPTT-{n}, 150 steps", "smollm", f"{SMOLLM}-mem16-bptt{n}", SMOLLM)
            for n in DEPTHS
        ),
        _named(
            "SmolLM2, BPTT-1, 600 steps",
            "smollm_gap",
            f"{SMOLLM}-mem16-bptt1-longer",
            f"{SMOLLM}-longer",
        ),
    ]


def _named(what: str, study: str, changed: str, base: str, size: int | None = None) -> Pair:
    """Plans of a study by their names."""
    plans = {own.name: own for own in STUDIES[study](True)}
    return Pair(what, plans[changed], plans[base], size)


def memory_added_table(runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each pair of memory_added of which something has run."""
    head = ["model", "score", "with memory - without", "95 % interval", "seeds"]
    return markdown(head, _rows(memory_added(), runs), n_words=2)


def _rows(pairs: Iterable[Pair], runs: Sequence[LoggedRun]) -> list[list[str]]:
    found = [(pair, compare(pair, runs)) for pair in pairs]
    return [[pair.what, both.score, *both.told] for pair, both in found if both]


# --- models of one study beside each other -------------------------------------------------------


def segments() -> list[Pair]:
    """By the length of segments."""
    pairs = []
    for n in SEGMENTS:
        own, scaled = with_segments(n, True), scaled_with_segments(n, True)
        pairs += [
            Pair(f"{n}: RMT 10 - cache 10", own["rmt10-bptt1"], own["trxl10"]),
            Pair(f"{n}: RMT 10 - baseline", own["rmt10-bptt1"], own["baseline"]),
            Pair(f"{n}: RMT {n // 8} - cache {n // 8}", scaled["rmt"], scaled["trxl"]),
            Pair(f"{n}: RMT {n // 8} - cache 20", scaled["rmt"], scaled["trxl20"]),
        ]
    return pairs


def warm_start() -> list[Pair]:
    """What beginning with a trained Transformer-XL does."""
    name = "enwik8-replay-1"
    return [
        _named("RMT, warm - cold", "warm_start", f"{name}-from-trxl10", name),
        _named(
            "RMT, cold, 4,000 steps - warm", "warm_start", f"{name}-longer", f"{name}-from-trxl10"
        ),
    ]


GAPS = {"segments-gaps": segments, "warm_start-gaps": warm_start}


def gaps_table(name: str, runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each pair of one of GAPS of which something has run."""
    head = ["pair", "score", "difference", "95 % interval", "seeds"]
    return markdown(head, _rows(GAPS[name](), runs), n_words=2)


# --- studies that change one thing ---------------------------------------------------------------


def changes_table(studies: Iterable[str], runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each change of some studies, in which everything else stays.

    Of a task, which most learn nearly without an error, there is a row of steps as well.
    """
    rows = []
    for changed, base in (pair for name in studies for pair in bases_of(STUDIES[name](True))):
        for score in ("", STEPS) if base.is_task else ("",):
            if both := compare(Pair(_change(changed, base), changed, base, score=score), runs):
                trained = f"{base.dataset}, {base.model.label}"
                rows.append([trained, _change(changed, base), both.score, *both.means, *both.told])
    head = ["training", "change", "score", "as usual", "changed", "difference", "95 % interval"]
    return markdown([*head, "seeds"], rows, n_words=3)


def _change(changed: Plan, base: Plan) -> str:
    """As an option; several are all of those above."""
    options = [
        f"`--{name}`" if value is True else f"`--{name} {value}`"
        for name, value in changed.options.items()
        if base.options.get(name) != value
    ]
    return options[0] if len(options) == 1 else "all of these"
