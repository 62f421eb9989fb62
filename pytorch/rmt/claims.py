"""The paper's claims against our runs: python -m rmt.claims

Every claim is a set of comparisons of rows of tables or points of figures. An effect is a
difference of means over seeds, or of such differences, with a 95 % confidence interval (Welch's:
every experiment has a spread of its own; one with a single seed is given that of the others).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rmt.cli import Parser
from rmt.errors import run_program
from rmt.experiments import Row, rows
from rmt.logged_runs import LoggedRun, finished_runs
from rmt.markdown import markdown
from rmt.paths import project_root
from rmt.published import Cell, figure_cells, table_cells
from rmt.scales import common_text, fitting_runs, plan

# 97.5 % quantiles of Student's t by degrees of freedom (from any statistical table).
STUDENT = {
    **{1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262},
    **{10: 2.228, 12: 2.179, 16: 2.120, 20: 2.086, 30: 2.042},
}
# What counts as the same: that part of the second score; of an accuracy, that much.
MARGIN, ACCURACY_MARGIN = 0.02, 0.025


@dataclass(frozen=True)
class Comparison:
    """A weighted sum of scores, and what the paper says of it.

    what: in words. terms: weights with the experiments. expected: "lower" or "higher" than 0, or
    "same" (0 within the margin), or "not higher" (by more than the margin).
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
    """An effect at mini scale, its confidence interval (infinite without spread) and verdict."""

    mean: float
    half_width: float
    seeds: Sequence[int]
    verdict: str


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
            [_versus("MT 10 - baseline, segment 150", _mt(10), _baseline(150), "same")],
        ),
        Claim(
            "One memory vector does what Transformer-XL does with a cache of 10",
            "section 4.3, Table 4",
            [_versus("RMT 1, BPTT-1 - cache 10", _rmt(1, 1), _trxl(10), "not higher")],
        ),
        Claim(
            "On enwik8 5 memory tokens do what Transformer-XL does with a cache of 40, and 10 do "
            "better than a cache of 10",
            "section 4.3, Table 3",
            [
                _versus("RMT 5, BPTT-2 - cache 40", _rmt(5, 2, 128), _trxl(40, 128), "not higher"),
                _versus("RMT 10, BPTT-2 - cache 10", _rmt(10, 2, 128), _trxl(10, 128), "lower"),
            ],
        ),
        Claim(
            "The depth of BPTT matters more than the size of the memory",
            "section 4.3, Table 4",
            [
                _versus("BPTT-3 - BPTT-0, memory 10", _rmt(10, 3), _rmt(10, 0), "lower"),
                Comparison(
                    "that, less memory 25 - memory 5 at BPTT-1",
                    [(1, _rmt(10, 3)), (-1, _rmt(10, 0)), (-1, _rmt(25, 1)), (1, _rmt(5, 1))],
                    "lower",
                ),
            ],
        ),
        Claim(
            "RMT gains nothing from memory 5 to 50",
            "section 4.3, Figure 5(d)",
            [_versus("memory 50 - memory 5, BPTT-1", _rmt(50, 1), _rmt(5, 1), "same")],
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
    groups = [(weight, [run.score for run in found]) for weight, found in terms]
    if not all(scores for _, scores in groups):
        return None
    mean = sum(weight * statistics.mean(scores) for weight, scores in groups)
    half_width = _half_width(groups)
    margin = _margin(comparison, statistics.mean(groups[1][1]))
    verdict = _verdict(comparison.expected, mean, half_width, margin)
    return Effect(mean, half_width, [len(scores) for _, scores in groups], verdict)


def published_verdict(comparison: Comparison) -> str:
    """What the paper's own scores, taken as certain, say of a comparison."""
    margin = _margin(comparison, _published(comparison.terms[1][1]))
    return _verdict(comparison.expected, comparison.published, 0.0, margin)


def _margin(comparison: Comparison, second_score: float) -> float:
    """What an effect may be and count as none."""
    is_accuracy = isinstance(comparison.terms[0][1], Cell)
    return ACCURACY_MARGIN if is_accuracy else MARGIN * second_score


def _half_width(groups: Sequence[tuple[int, Sequence[float]]]) -> float:
    """Of the 95 % confidence interval: Welch's, with Satterthwaite's degrees of freedom."""
    repeated = [scores for _, scores in groups if len(scores) > 1]
    if not repeated:
        return math.inf
    freedom = sum(len(scores) - 1 for scores in repeated)
    pooled = sum((len(scores) - 1) * statistics.variance(scores) for scores in repeated) / freedom
    errors, by_freedom = [], []
    for weight, scores in groups:
        alone = len(scores) == 1
        variance = pooled if alone else statistics.variance(scores)
        errors.append(weight**2 * variance / len(scores))
        by_freedom.append(errors[-1] ** 2 / (freedom if alone else len(scores) - 1))
    if not sum(errors):
        return 0.0
    effective = sum(errors) ** 2 / sum(by_freedom)
    # Between entries of the table the one for fewer degrees, which is the larger.
    return STUDENT[max(n for n in STUDENT if n <= effective + 1e-9)] * math.sqrt(sum(errors))


def _verdict(expected: str, mean: float, half_width: float, margin: float) -> str:
    """yes, no (the interval excludes it) or unclear."""
    if expected == "higher":
        return _verdict("lower", -mean, half_width, margin)
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
        return f"in part ({n_holding} of {len(effects)})"
    if len(found) < len(effects):
        return "not decided yet"
    return "not seen" if "no" in found else "undecided"


def table(runs: Sequence[LoggedRun]) -> str:
    """The ledger of claims in Markdown, a line per comparison."""
    head = ["claim", "in the paper", "comparison", "expected", "paper", "ours, 95 % interval"]
    head += ["seeds", "holds", "verdict"]
    lines = []
    for claim in claims():
        effects = [effect(comparison, runs) for comparison in claim.comparisons]
        first = [f"{claim.text}", claim.where]
        for i, (comparison, found) in enumerate(zip(claim.comparisons, effects, strict=True)):
            digits = 2 if comparison.of_perplexities else 3
            line = first if i == 0 else ["", ""]
            line = [*line, comparison.what, comparison.expected]
            line += [f"{comparison.published:+.{digits}f}", *_described(found, digits)]
            lines.append([*line, f"**{verdict_of(effects)}**" if i == 0 else ""])
    return markdown(head, lines, n_words=4)


def _described(found: Effect | None, digits: int) -> list[str]:
    if found is None:
        return ["not run", "", ""]
    text = f"{found.mean:+.{digits}f}"
    if math.isfinite(found.half_width):
        text += f" ± {found.half_width:.{digits}f}"
    seeds = found.seeds
    return [
        text,
        str(seeds[0]) if len({*seeds}) == 1 else ", ".join(map(str, seeds)),
        found.verdict,
    ]


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.claims", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=project_root() / "results")
    options = parser.parse(argv)
    print(table(finished_runs(options["results"] / "runs")), end="")


if __name__ == "__main__":
    run_program(main)
