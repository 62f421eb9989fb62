"""What a change does: differences of equal seeds, and their interval."""

import statistics

import pytest

from helpers.logged import run_of
from rmt.reproduction.paired import STEPS, Pair, changes_table, compare
from rmt.reproduction.studies.common import bases_of
from rmt.reproduction.studies.registry import STUDIES

BASE = {1: 2.1, 2: 2.2, 3: 2.3}
CHANGED = {1: 2.0, 2: 2.1, 3: 2.3, 4: 9.0}


@pytest.fixture
def pair():
    (changed, base), *_ = bases_of(STUDIES["ablation"](True))
    return Pair("a change", changed, base)


def logged(pair, seeds=(1, 2, 3, 4)):
    return [
        run_of(own, seed, score)
        for own, scores in ((pair.base, BASE), (pair.changed, CHANGED))
        for seed, score in scores.items()
        if seed in seeds
    ]


def test_seeds_that_both_have_are_compared(pair):
    differences = [-0.1, -0.1, 0.0]
    width = 4.303 * statistics.stdev(differences) / 3**0.5  # Student's of two degrees of freedom
    both = compare(pair, logged(pair))
    assert both.score == "bpc"
    assert both.seeds == [1, 2, 3]
    assert both.means == ["2.200", "2.133"]
    assert both.told == ["-0.067", f"± {width:.3f}", "3"]


def test_one_seed_has_no_interval_and_none_no_row(pair):
    assert compare(pair, logged(pair, seeds=[1])).told == ["-0.100", "", "1"]
    assert compare(pair, logged(pair, seeds=[4])) is None


def test_every_change_has_the_base_whose_name_it_begins_with():
    names = [(changed.name, base.name) for changed, base in bases_of(STUDIES["as_published"](True))]
    assert len(names) == len(STUDIES["as_published"](True)) - 2
    assert all(changed.startswith(f"{base}-published-") for changed, base in names)


def test_a_change_is_named_by_its_option_and_several_are_all_of_these():
    plans = STUDIES["as_published"](True)
    lines = changes_table(["as_published"], [run_of(own, 1, 2.0) for own in plans]).splitlines()[2:]
    changes = [line.split(" | ")[1] for line in lines]
    of_rmt = ["`--published_positions`", "`--replay_from newest`", "`--mem_init shared`"]
    assert changes[:4] == [*of_rmt, "all of these"]
    assert len(changes) == len(plans) - 2


def test_of_a_task_steps_are_compared_as_well():
    (changed, base), *_ = bases_of(STUDIES["ablation_reverse"](False))
    runs = [run_of(own, 1, 0.999) for own in (base, changed)]
    for run, steps in zip(runs, (1600, 2100), strict=True):
        run.result["steps"] = steps
    assert compare(Pair("", changed, base, score=STEPS), runs).told == ["+500", "", "1"]
    scores = [
        line.split(" | ")[2] for line in changes_table(["ablation_reverse"], runs).splitlines()
    ]
    assert scores[2:] == ["accuracy", STEPS]
