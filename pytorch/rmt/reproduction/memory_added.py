"""What memory adds to pretrained models: runs with it against runs without, by their seeds.

A seed gives both the order of the samples, and GPT-2 its weights to begin with. So the interval is
that of the seeds' differences, by Student's distribution.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rmt.reproduction.ledger import student_quantile
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.sizes import scores_of
from rmt.reproduction.studies.pretrained import DEPTHS
from rmt.reproduction.studies.registry import STUDIES
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import markdown


@dataclass(frozen=True)
class Pair:
    """Two plans of a study, which memory and its gradient tell apart.

    what: for people. size: of the samples that both were tested on, where it is not their own.
    """

    what: str
    study: str
    with_memory: str
    without: str
    size: int | None = None


LONG = 8192  # tokens
GPT2, SMOLLM, MINILM = "text-gpt2-16", "text-smollm2", "memorize7-minilm"
PAIRS = (
    Pair("MiniLM, 256 segments", "minilm", f"{MINILM}-mem10", MINILM, LONG),
    *(Pair(f"GPT-2, BPTT-{n}", "wrapped_gpt2", f"{GPT2}-mem10-bptt{n}", GPT2) for n in DEPTHS),
    *(
        Pair(f"SmolLM2, BPTT-{n}, 150 steps", "smollm", f"{SMOLLM}-mem16-bptt{n}", SMOLLM)
        for n in DEPTHS
    ),
    Pair(
        "SmolLM2, BPTT-1, 600 steps",
        "smollm_gap",
        f"{SMOLLM}-mem16-bptt1-longer",
        f"{SMOLLM}-longer",
    ),
)


def memory_added_table(runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each pair of which something has run."""
    rows = []
    for pair in PAIRS:
        mine = _by_seed(pair, pair.with_memory, runs)
        theirs = _by_seed(pair, pair.without, runs)
        differences = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
        if differences:
            rows.append([pair.what, _score(pair, runs), *_told(differences)])
    head = ["model", "score", "with memory - without", "95 % interval", "seeds"]
    return markdown(head, rows, n_words=2)


def _told(differences: Sequence[float]) -> list[str]:
    """The mean, half the interval's width, and how many there are."""
    width = ""
    if len(differences) > 1:
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        width = f"± {student_quantile(len(differences) - 1) * error:.3f}"
    return [f"{statistics.mean(differences):+.3f}", width, f"{len(differences)}"]


def _by_seed(pair: Pair, name: str, runs: Sequence[LoggedRun]) -> Mapping[int, float]:
    if pair.size is None:
        return {run.train["seed"]: run.score for run in _runs(pair, name, runs)}
    return {run.train["seed"]: dict(scores_of(run))[pair.size] for run in _runs(pair, name, runs)}


def _runs(pair: Pair, name: str, runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    (own,) = (own for own in STUDIES[pair.study](True) if own.name == name)
    return fitting_runs(own, runs)


def _score(pair: Pair, runs: Sequence[LoggedRun]) -> str:
    if pair.size is not None:
        return "share of right answers"
    return _runs(pair, pair.without, runs)[0].metric.name
