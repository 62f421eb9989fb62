"""How much has run."""

from helpers.logged import run_of
from rmt.reproduction.coverage import coverage_table
from rmt.reproduction.studies.registry import STUDIES


def test_rows_are_counted_by_their_seeds():
    plans = STUDIES["rates"](True)
    runs = [run_of(plans[0], seed) for seed in (1, 2, 3, 4)]
    runs += [run_of(plans[1], 1), run_of(plans[2], 1), run_of(plans[2], 2)]
    *_, rates, none = coverage_table({"rates": plans, "nothing": []}, runs).splitlines()
    assert rates == f"| `rates` | {len(plans)} | 1 | 2 | {len(plans) - 3} |"
    assert none == "| `nothing` | 0 | 0 | 0 | 0 |"
