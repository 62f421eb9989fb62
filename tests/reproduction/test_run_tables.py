"""Tables of runs: every configuration has a row that is told from the others."""

from dataclasses import replace

from helpers.logged import run_of
from rmt.reproduction.plans import Plan
from rmt.reproduction.run_tables import tasks_table
from rmt.reproduction.studies.registry import STUDIES
from rmt.runs.logged_runs import LoggedRun

TOLD_BY = 4  # cells: task, model, segments, memory


def logged(own: Plan) -> LoggedRun:
    """A run with what the table says of a task."""
    run = run_of(own, 1, 0.5)
    names = ("sequence_accuracy", "forced_accuracy", "forced_sequence_accuracy")
    scores = {f"test_{name}": 0.5 for name in names}
    sizes = {"segments": own.options["segments"], "tgt_len": 12, "seconds": 60.0, "steps": 1000}
    return replace(run, result=scores | sizes | run.result)


def test_no_two_rows_of_tasks_have_one_name():
    studies = ("ablation_reverse", "as_published_reverse", "gradients", "alike")
    plans = {own.name: own for name in studies for own in STUDIES[name](True)}
    runs = [logged(own) for own in plans.values()]
    rows = [line.split("|")[1 : TOLD_BY + 1] for line in tasks_table(runs, []).splitlines()[2:]]
    names = [" ".join(cells) for cells in rows]
    assert len(names) == len(set(names)) == len(plans)
    assert sum("causal memory" in name for name in names) == 1
