"""The ledger: intervals, what follows from them, and how it is shown."""

import math
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.logged import run_of
from rmt.paper.claims import Comparison, claims
from rmt.paper.experiments import rows
from rmt.paper.published import table_cells
from rmt.reproduction import ledger
from rmt.reproduction.confidence import student_quantile
from rmt.reproduction.ledger import Effect, effect, not_alike, verdict_of
from rmt.reproduction.scales import plan
from rmt.runs.reports import anchor
from rmt.runtime.errors import UsageError


def comparison(expected: str = "lower") -> Comparison:
    one, other = (r for r in rows("table4") if (r.model, r.memory) == ("trxl", 25))
    return Comparison("one - other", [(1, one), (-1, other)], expected)


def runs_with(of: Comparison, *scores: list[float]) -> list:
    return [
        run_of(plan(experiment, "mini"), seed, score)
        for (_, experiment), own in zip(of.terms, scores, strict=True)
        for seed, score in enumerate(own, start=1)
    ]


def test_the_interval_is_welchs():
    own = comparison()
    first, second = [9.0, 10.0, 11.5], [12.0, 12.5, 12.1]
    found = effect(own, runs_with(own, first, second))
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    errors = [np.var(scores, ddof=1) / 3 for scores in (first, second)]
    freedom = sum(errors) ** 2 / sum(error**2 / 2 for error in errors)
    assert 2 < freedom < 3
    assert found.half_width == pytest.approx(student_quantile(freedom) * math.sqrt(sum(errors)))
    assert [[run.seed for run in same] for same in found.runs] == [[1, 2, 3], [1, 2, 3]]


def test_one_without_spread_leaves_the_others_degrees_of_freedom():
    """As RMT, which solves a task with every seed, beside Transformer-XL, which does not."""
    own = comparison()
    found = effect(own, runs_with(own, [1.0, 1.0, 1.0], [0.98, 0.42, 0.41]))
    error = math.sqrt(np.var([0.98, 0.42, 0.41], ddof=1) / 3)
    assert found.half_width == pytest.approx(4.303 * error)


def test_without_spread_nothing_is_decided():
    own = comparison()
    for others in ([2.0], [2.0, 2.0, 2.0]):
        alone = effect(own, runs_with(own, [1.0], others))
        assert (alone.mean, alone.half_width, alone.verdict) == (-1.0, math.inf, "unclear")


@pytest.mark.parametrize(
    ("expected", "first", "verdict"),
    [
        ("lower", [9.0, 9.01], "yes"),
        ("lower", [11.0, 11.01], "no"),
        ("lower", [9.0, 11.0], "unclear"),
        ("higher", [11.0, 11.01], "yes"),
        ("higher", [9.0, 9.01], "no"),
        ("same", [10.0, 10.01], "yes"),
        ("same", [9.0, 9.01], "no"),
        ("same", [11.0, 11.01], "no"),
        ("same", [9.8, 9.81], "unclear"),
        ("not higher", [9.0, 9.01], "yes"),
        ("not higher", [10.0, 10.01], "yes"),
        ("not higher", [11.0, 11.01], "no"),
        ("not lower", [11.0, 11.01], "yes"),
        ("not lower", [10.0, 10.01], "yes"),
        ("not lower", [9.0, 9.01], "no"),
    ],
)
def test_a_verdict_needs_the_whole_interval(expected, first, verdict):
    own = comparison(expected)
    assert effect(own, runs_with(own, first, [10.0, 10.01])).verdict == verdict


def test_the_margin_is_a_share_of_what_is_subtracted():
    """2 % of 10, which 0.203 is above; 2 % of 10.203 it is not."""
    own = comparison("same")
    assert effect(own, runs_with(own, [10.203] * 2, [10.0] * 2)).verdict == "no"


def test_scores_on_different_texts_are_not_compared():
    own = comparison()
    one, other = runs_with(own, [1.0], [2.0])
    other = replace(other, result=other.result | {"corpus": "another"})
    with pytest.raises(UsageError, match="are of different texts"):
        effect(own, [one, other])


def test_a_score_is_compared_with_one_that_the_paper_names():
    [*_, rmt] = table_cells()
    own = Comparison("RMT - 0.9", [(1, rmt)], "not lower", 0.9)
    for score, verdict in ((0.95, "yes"), (0.88, "yes"), (0.87, "no")):
        found = effect(own, runs_with(own, [score, score]))
        assert (found.mean, found.verdict) == (pytest.approx(score - 0.9), verdict)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["yes", "yes"], "reproduced at mini scale"),
        (["yes", "unclear"], "in part (1 of 2, 1 undecided)"),
        (["yes", "no"], "in part (1 of 2, 1 contradicted)"),
        (["yes", "not run", "yes"], "in part (2 of 3, 1 not run)"),
        (["no", "not run"], "incomplete (1 contradicted)"),
        (["unclear", "not run"], "incomplete"),
        (["no", "unclear"], "contradicted (1 undecided)"),
        (["no", "no"], "contradicted"),
        (["unclear"], "undecided"),
        (["not run", "not run"], "not run"),
    ],
)
def test_a_claim_is_reproduced_only_if_all_of_it_is(verdicts, expected):
    effects = [Effect(0.0, 1.0, verdict, []) for verdict in verdicts]
    assert verdict_of(effects) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["yes", "yes but"], "in part (1 of 2, 1 not alike)"),
        (["yes but", "yes but"], "not compared alike"),
        (["no", "yes but"], "not compared alike (1 contradicted)"),
        (["not run", "yes but"], "not compared alike"),
    ],
)
def test_what_is_not_alike_does_not_count(verdicts, expected):
    effects = [
        Effect(0.0, 1.0, said.removesuffix(" but"), [], ["curriculum"] if "but" in said else [])
        for said in verdicts
    ]
    assert verdict_of(effects) == expected


def test_plans_are_alike_if_they_differ_in_what_the_paper_varies_alone():
    """Copy has lessons for RMT alone, retrieval has the same training for both."""
    gaps = {
        one.what: not_alike([plan(experiment, "mini") for _, experiment in one.terms])
        for claim in claims()
        for one in claim.comparisons
    }
    assert gaps["copy, 9 segments, memory 8: RMT - Tr-XL"] == ["curriculum"]
    assert set(gaps["reverse, 6 segments, memory 8: RMT - Tr-XL"]) == {"curriculum", "init"}
    alike = {what for what, differs in gaps.items() if not differs}
    assert {what for what in gaps if "copy" not in what and "reverse" not in what} <= alike
    assert "reverse, 4 segments, memory 6: RMT - 1" in alike


def test_the_summary_counts_every_claim():
    n_claims = len(claims())
    said = f"{n_claims} claims of the paper are checked by scores: 0 reproduced in full, "
    said += f"{n_claims} not run.\n"
    assert ledger.summary(ledger.judge([])) == said
    own = claims()[-1].comparisons[0]
    assert " 1 in part, " in ledger.summary(ledger.judge(runs_with(own, [1.0, 0.99], [5.0, 5.01])))


def test_every_claim_has_its_verdict_and_a_line_for_every_comparison(tmp_path):
    found = claims()
    text = ledger.details(ledger.judge([]), tmp_path)
    lines = [line for line in text.splitlines() if "| not run |" in line]
    assert len(lines) == sum(len(claim.comparisons) for claim in found)
    assert text.count("**Not run.**") == len(found)


def test_the_overview_has_a_line_for_every_claim_that_leads_to_it(tmp_path):
    own = claims()[-1].comparisons[0]
    judged = ledger.judge(runs_with(own, [1.0, 0.98], [5.0, 5.01, 5.02]))
    headings = [
        anchor(line.removeprefix("### "))
        for line in ledger.details(judged, tmp_path).splitlines()
        if line.startswith("### ")
    ]
    lines = ledger.overview(judged, "claims.md").splitlines()[2:]
    assert [re.search(r"\(claims\.md#([^)]+)\)", line)[1] for line in lines] == headings
    assert "| in part (1 of 2, 1 not run) | both - cache 150 | -0.13 | -4.02 ± " in lines[-1]
    assert lines[-1].endswith("| ppl | 2 and 3 |")


def test_what_has_run_of_a_comparison_is_linked_before_the_rest_has(tmp_path):
    own = claims()[-1].comparisons[0]
    runs = runs_with(own, [1.0], [])
    found = effect(own, runs)
    assert found.verdict == "not run"
    assert math.isnan(found.mean)
    text = ledger.details(ledger.judge(runs), tmp_path)
    (line,) = (line for line in text.splitlines() if own.what in line)
    assert "| -0.13 | not run | ppl |  |" in line
    assert f"[1]({os.path.relpath(runs[0].path, tmp_path)}); not run |" in line


def test_the_table_links_to_the_log_of_every_seed(tmp_path):
    own = claims()[-1].comparisons[0]
    runs = runs_with(own, [1.0, 0.99], [0.5])
    text = ledger.details(ledger.judge(runs), tmp_path)
    (line,) = (line for line in text.splitlines() if own.what in line)
    for run in runs:
        assert f"[{run.seed}]({os.path.relpath(run.path, tmp_path)})" in line


def test_verdicts_have_a_line_for_every_claim_with_those_that_hold_first():
    found = claims()
    own = found[-1].comparisons[0]
    judged = ledger.judge(runs_with(own, [1.0, 0.99], [5.0, 5.01]))
    said, _, _, _, *lines = ledger.verdicts(judged).splitlines()
    assert f"{said}\n" == ledger.summary(judged)
    assert lines[0] == f"| {found[-1].text} | {found[-1].where} | in part (1 of 2, 1 not run) |"
    assert lines[1:] == [f"| {claim.text} | {claim.where} | not run |" for claim in found[:-1]]
