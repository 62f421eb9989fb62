"""What a change does: differences of equal seeds, and their interval."""

import json
import statistics
from dataclasses import replace

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
    assert both.differences == ["-0.067", f"± {width:.3f}", "3"]


def test_one_seed_has_no_interval_and_none_no_difference(pair):
    assert compare(pair, logged(pair, seeds=[1])).differences == ["-0.100", "", "1"]
    assert compare(pair, logged(pair, seeds=[4])) is None


def test_every_change_has_the_base_that_it_differs_from_in_those_options_alone():
    pairs = bases_of(STUDIES["as_published"](True))
    assert len(pairs) == len(STUDIES["as_published"](True)) - 2
    options = {"published_positions", "published_cache", "replay_from", "mem_init"}
    for changed, base in pairs:
        differing = {
            name for name, value in changed.options.items() if base.options.get(name) != value
        }
        assert differing
        assert differing <= options


def test_a_change_is_named_by_its_option_and_several_are_all_of_these():
    plans = STUDIES["as_published"](True)
    lines = changes_table("as_published", [run_of(own, 1, 2.0) for own in plans]).splitlines()[2:]
    changes = [line.split(" | ")[1] for line in lines]
    of_rmt = ["`--published_positions`", "`--replay_from newest`", "`--mem_init shared`"]
    assert changes[:4] == [*of_rmt, "all of these"]
    assert len(changes) == len(plans) - 2


def test_of_a_task_steps_are_compared_as_well_where_it_was_learned():
    (changed, base), *_ = bases_of(STUDIES["ablation_reverse"](False))
    runs = []
    for own, found in (
        (base, {1: (1600, 1.0), 2: (1700, 0.999)}),
        (changed, {1: (2100, 1.0), 2: (1800, 0.5)}),
    ):
        for seed, (steps, validation) in found.items():
            metrics = [{"kind": "valid", "accuracy": validation}]
            runs.append(replace(run_of(own, seed, 0.999), metrics=metrics))
            runs[-1].result["steps"] = steps
    both = compare(Pair("", changed, base, score=STEPS), runs)
    assert (both.seeds, both.differences) == ([1], ["+500", "", "1"])
    lines = changes_table("ablation_reverse", runs).splitlines()[2:]
    assert [line.split(" | ")[2] for line in lines] == ["accuracy", STEPS]


def test_of_another_size_only_seeds_that_were_tested_on_it_are_compared(tmp_path):
    first, second, _ = STUDIES["facts"](True)
    runs = []
    for own, tested in ((first, {1: 0.5, 2: 0.6, 3: None}), (second, {1: 0.75, 2: None, 3: 1.0})):
        for seed, accuracy in tested.items():
            runs.append(replace(run_of(own, seed), path=tmp_path / own.folder_name(seed)))
            runs[-1].path.mkdir(parents=True)
            if accuracy:
                scores = [{"of": "test", "sequence_accuracy": accuracy}]
                record = {"samples": {"sample_len": 2048}, "scores": scores}
                (runs[-1].path / "size-2048.json").write_text(json.dumps(record))
    both = compare(Pair("", second, first, size=2048), runs)
    assert (both.score, both.seeds) == ("share of right answers", [1])
    assert both.differences == ["+0.250", "", "1"]
    assert compare(Pair("", second, first, size=4096), runs) is None
