"""What one change does to a score: runs with it against runs without, by their seeds.

A seed gives both the same initial weights, but for those that only one has, and on a task the same
samples in the same order. So the interval is that of the seeds' differences, by Student's
distribution.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rmt.reproduction.arms import best_validation
from rmt.reproduction.confidence import of_pairs, written
from rmt.reproduction.ledger import not_alike
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.sizes import is_tested, scores_of
from rmt.reproduction.studies.common import bases_of
from rmt.reproduction.studies.pretrained import DEPTHS
from rmt.reproduction.studies.registry import STUDIES
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import common_text, markdown

STEPS = "steps"


@dataclass(frozen=True)
class Pair:
    """Two plans that one change tells apart.

    what: for people. size: of the samples that both were tested on, where it is not their own.
    score: what is compared: "" for a run's own, STEPS for how many it took to learn a task, of
    seeds that learned it with the change and without.
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
    def differences(self) -> list[str]:
        """Cells: the mean difference, half the interval's width, and how many seeds there are."""
        each = [new - old for new, old in zip(self.changed, self.base, strict=True)]
        mean = f"{statistics.mean(each):+,.{self.digits}f}"
        return [mean, written(of_pairs(each), self.digits), f"{len(each)}"]

    @property
    def means(self) -> list[str]:
        """Cells: of the base, and with the change."""
        return [f"{statistics.mean(some):,.{self.digits}f}" for some in (self.base, self.changed)]


def compare(pair: Pair, runs: Sequence[LoggedRun]) -> Compared | None:
    """None where no seed has run with the change and without.

    Raises UsageError for runs on different texts.
    """
    of_base, of_changed = (fitting_runs(own, runs) for own in (pair.base, pair.changed))
    common_text([*of_base, *of_changed])
    base, changed = _by_seed(pair, of_base), _by_seed(pair, of_changed)
    seeds = [seed for seed in base if seed in changed]
    if not seeds:
        return None
    name = pair.score or of_base[0].metric.name
    return Compared(
        name if pair.size is None else "share of right answers",
        0 if pair.score == STEPS else 3,
        seeds,
        [base[seed] for seed in seeds],
        [changed[seed] for seed in seeds],
    )


def _by_seed(pair: Pair, runs: Sequence[LoggedRun]) -> dict[int, float]:
    """What is compared of each run that has it."""
    found = {run.seed: _measured(pair, run) for run in runs}
    return {seed: value for seed, value in found.items() if value is not None}


def _measured(pair: Pair, run: LoggedRun) -> float | None:
    if pair.size is not None:
        return dict(scores_of(run)).get(pair.size) if is_tested(run) else None
    if pair.score == STEPS:
        learned = best_validation(run) >= run.train["stop_at"]
        return run.result["steps"] if learned else None
    return run.score


# --- memory around pretrained models -------------------------------------------------------------

LONG = 8192  # tokens
GPT2, SMOLLM, MINILM = "text-gpt2-16", "text-smollm2", "memorize7-minilm"


def memory_added() -> list[Pair]:
    """Each model trained with memory, and alone."""
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
    rows = []
    for pair in memory_added():
        if both := compare(pair, runs):
            differs = ", ".join(not_alike([pair.base, pair.changed]))
            rows.append([pair.what, both.score, *both.differences, differs])
    head = ["model", "score", "with memory - without", "95 % interval", "seeds", "differ also in"]
    return markdown(head, rows, n_words=2)


# --- studies that change one thing ---------------------------------------------------------------


def changes_table(study: str, runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each change of a study, in which everything else stays.

    Of a task, which most learn nearly without an error, there is a row of steps as well.
    """
    rows = []
    for changed, base in bases_of(STUDIES[study](True)):
        trained, change = f"{base.dataset}, {base.model.label}", _change(changed, base)
        for score in ("", STEPS) if base.is_task else ("",):
            if both := compare(Pair(change, changed, base, score=score), runs):
                rows.append([trained, change, both.score, *both.means, *both.differences])
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
