"""What memory adds: differences of equal seeds, and their interval."""

import statistics
from types import SimpleNamespace

import pytest

from rmt.reproduction import memory_added
from rmt.reproduction.memory_added import Pair, memory_added_table

SCORES = {"with": {1: 2.0, 2: 2.1, 3: 2.3, 4: 9.0}, "without": {1: 2.1, 2: 2.2, 3: 2.3}}


@pytest.fixture
def rows(monkeypatch):
    """The table's rows of a study of two plans, whose runs have SCORES."""
    plans = {name: SimpleNamespace(name=name) for name in SCORES}
    monkeypatch.setitem(memory_added.STUDIES, "study", lambda with_data: list(plans.values()))
    monkeypatch.setattr(memory_added, "PAIRS", (Pair("a model", "study", "with", "without"),))

    def rows(seeds=(1, 2, 3, 4)) -> list[list[str]]:
        def fitting_runs(own, runs):
            return [
                SimpleNamespace(
                    train={"seed": seed}, score=score, metric=SimpleNamespace(name="bpc")
                )
                for seed, score in SCORES[own.name].items()
                if seed in seeds
            ]

        monkeypatch.setattr(memory_added, "fitting_runs", fitting_runs)
        lines = memory_added_table([]).splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return rows


def test_seeds_that_both_have_are_compared(rows):
    differences = [-0.1, -0.1, 0.0]
    width = 4.303 * statistics.stdev(differences) / 3**0.5  # Student's of two degrees of freedom
    assert rows() == [["a model", "bpc", "-0.067", f"± {width:.3f}", "3"]]


def test_one_seed_has_no_interval_and_none_no_row(rows):
    assert rows(seeds=[1]) == [["a model", "bpc", "-0.100", "", "1"]]
    assert rows(seeds=[4]) == []
