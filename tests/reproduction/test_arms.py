"""The same trainings for both models: which one is a model's best, and when it counts."""

from dataclasses import replace

import pytest

from helpers.logged import run_of
from rmt.paper.claims import Comparison
from rmt.paper.published import figure_cells
from rmt.reproduction.arms import NAMES, arms, arms_table, best_of_each, headline
from rmt.reproduction.ledger import effect
from rmt.reproduction.side_by_side import side_by_side
from rmt.reproduction.studies.registry import STUDIES

CELLS = {cell.place: cell for cell in figure_cells()}
RMT, TRXL = (CELLS["reverse", model, 8, 6] for model in ("rmt", "trxl"))
KEYS = list(NAMES)


def runs_of_arms(cell, scores: dict) -> list:
    """scores: of an arm's key the validation and test scores of every seed."""
    found = []
    for arm in arms(cell, []):
        for seed, (valid, test) in enumerate(scores.get(arm.key, ()), start=1):
            logged = run_of(arm.plan, seed, test)
            metrics = [{"kind": "valid", "accuracy": value} for value in (0.1, valid, 0.2)]
            found.append(replace(logged, metrics=metrics))
    return found


def test_the_arms_are_those_of_the_study():
    plans = {own.name for own in STUDIES["alike"](True)}
    found = [arm for cell in (RMT, TRXL) for arm in arms(cell, [])]
    assert {arm.plan.name for arm in found} <= plans
    assert [arm.key for arm in found] == KEYS * 2


def test_the_best_is_chosen_on_validation_and_scored_on_test():
    lucky, best = {KEYS[0]: [(0.7, 0.9)] * 3}, {KEYS[2]: [(0.9, 0.6), (0.7, 0.8), (0.8, 0.7)]}
    poor = {key: [(0.3, 0.3)] * 3 for key in (KEYS[1], KEYS[3])}
    runs = runs_of_arms(RMT, lucky | best | poor)
    (chosen,) = best_of_each([RMT], runs)
    assert chosen.key == KEYS[2]
    assert [run.score for run in chosen.runs] == [0.6, 0.8, 0.7]


def test_nothing_is_chosen_before_all_arms_of_both_have_run():
    every = {key: [(0.5, 0.5)] * 3 for key in KEYS}
    runs = runs_of_arms(RMT, every) + runs_of_arms(TRXL, {k: every[k] for k in KEYS[:3]})
    assert best_of_each([RMT], runs)
    two_seeds = runs_of_arms(RMT, every | {KEYS[0]: [(0.5, 0.5)] * 2})
    assert best_of_each([RMT], two_seeds) is None
    assert best_of_each([RMT, TRXL], runs) is None
    # The smallest number of segments has no arms.
    assert best_of_each([RMT, CELLS["reverse", "rmt", 24, 2]], runs) is None


def test_a_figure_shows_the_best_arm_once_both_models_have_all():
    every = {key: [(0.5, 0.5)] * 3 for key in KEYS} | {KEYS[2]: [(0.8, 0.7)] * 3}
    of_rmt, of_trxl = runs_of_arms(RMT, every), runs_of_arms(TRXL, every)
    shown, *_ = headline(RMT, of_rmt + of_trxl)
    assert shown.score == 0.7
    shown, *_ = headline(RMT, of_rmt)  # its own plan's: with lessons, from smaller weights
    assert (shown.train["curriculum"], shown.score) == (-1, 0.5)
    assert headline(CELLS["reverse", "rmt", 24, 2], of_rmt + of_trxl) == []


def test_a_comparison_counts_once_both_have_all_arms():
    comparison = Comparison("RMT - Tr-XL", [(1, RMT), (-1, TRXL)], "higher")
    rmt = {key: [(0.2, 0.2)] * 3 for key in KEYS} | {KEYS[1]: [(0.9, 0.9)] * 2 + [(0.91, 0.91)]}
    trxl = {key: [(0.3, 0.3)] * 3 for key in KEYS} | {KEYS[2]: [(0.6, 0.6)] * 2 + [(0.61, 0.61)]}
    of_rmt, of_trxl = runs_of_arms(RMT, rmt), runs_of_arms(TRXL, trxl)
    found = effect(comparison, of_rmt + of_trxl)
    assert found.counts
    assert found.verdict == "yes"
    assert found.mean == pytest.approx(0.3)
    less = runs_of_arms(TRXL, {key: trxl[key] for key in KEYS[:3]})
    assert effect(comparison, of_rmt + less).differs == ["init", "curriculum"]


def test_the_line_beside_transformer_xl_says_that_it_shows_the_best_of_each():
    every = {key: [(0.5, 0.5)] * 3 for key in KEYS} | {KEYS[2]: [(0.8, 0.7)] * 3}
    of_rmt, of_trxl = runs_of_arms(RMT, every), runs_of_arms(TRXL, every)

    def line(runs) -> str:
        (found,) = (own for own in side_by_side(runs).splitlines() if "reverse, 6" in own)
        return found

    assert "| 0.700 | 0.700 | +0.000 ± 0.000 |" in line(of_rmt + of_trxl)
    assert line(of_rmt + of_trxl).endswith("| yes: each one's best of four |")
    assert line(of_trxl).endswith("| no: initial weights and lessons |")


def test_the_table_shows_all_arms_and_marks_the_best():
    every = {key: [(0.5, 0.5)] for key in KEYS} | {KEYS[3]: [(0.6, 0.4), (0.6, 0.4)]}
    runs = runs_of_arms(RMT, every) + runs_of_arms(TRXL, {KEYS[0]: [(1, 1)]})
    *_, of_rmt, of_trxl = arms_table(runs).splitlines()
    assert of_rmt.endswith("| 0.500 (1) | 0.500 (1) | 0.500 (1) | **0.400 ± 0.000 (2)** |")
    assert of_trxl.endswith("| 1.000 (1) | not run | not run | not run |")
