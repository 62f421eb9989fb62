"""Models of a study beside each other: signs, means and intervals."""

import statistics

import pytest

from helpers.logged import run_of
from rmt.reproduction.confidence import student_quantile
from rmt.reproduction.studies.gaps import GAPS, gaps_table
from rmt.reproduction.studies.registry import STUDIES
from rmt.reproduction.write_results import write_tables
from rmt.runs.logged_runs import LoggedRun

RMT, CACHE, BASELINE = (2.7, 2.71, 2.75), (2.6, 2.62), (2.9, 2.95, 3.0)


def rows_of(study: str, runs) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in gaps_table(study, runs).splitlines()[2:]]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in lines}


@pytest.fixture
def runs():
    """Of every plan of all studies but the grid: the same scores for all of a model."""
    plans = [own for study in GAPS if study != "grid" for own in STUDIES[study](True)]
    by_model = {"rmt": RMT, "trxl": CACHE, "baseline": BASELINE}
    return [
        run_of(own, seed, score)
        for own in plans
        for seed, score in enumerate(by_model[own.model.model], start=1)
    ]


def grid_runs(seed: int = 1, more: float = 0) -> list[LoggedRun]:
    """One run in each place; a memory token costs 1, the depth's square is worth 10."""
    plans = STUDIES["grid"](True)
    by_place = {(own.model.memory, own.settings.train.bptt_unrolls): own for own in plans}
    return [
        run_of(own, seed, 200 + more + memory - 10 * depth**2)
        for (memory, depth), own in by_place.items()
    ]


def test_a_difference_is_of_the_first_minus_the_second_with_welchs_interval(runs):
    found = rows_of("segments", runs)
    assert found["segments of 64: RMT 10 - baseline"][1] == "-0.230"
    difference = statistics.mean(RMT) - statistics.mean(CACHE)
    errors = [statistics.variance(scores) / len(scores) for scores in (RMT, CACHE)]
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 2 + errors[1] ** 2 / 1)
    assert freedom == pytest.approx(2.985, abs=1e-3)
    width = student_quantile(freedom) * sum(errors) ** 0.5
    expected = ["bpc", f"{difference:+.3f}", f"± {width:.3f}", "3 and 2"]
    assert found["segments of 64: RMT 10 - cache 10"] == expected


def test_scaled_memory_is_against_a_cache_as_large_and_one_of_20(runs):
    found = rows_of("segments_scaled", runs)
    differences = {name: cells[1] for name, cells in found.items() if "of 128" in name}
    assert differences == {
        "segments of 128: RMT 16 - cache 16": "+0.110",
        "segments of 128: RMT 16 - cache 20": "+0.110",
        "segments of 128: RMT 16 - baseline": "-0.230",
    }


def test_a_warm_start_that_helps_is_negative():
    plans = {own.name: own for own in STUDIES["warm_start"](True)}
    scores = {"": 2.9, "-from-trxl10": 2.8, "-longer": 2.7}
    runs = [run_of(plans[f"enwik8-replay-1{name}"], 1, score) for name, score in scores.items()]
    found = rows_of("warm_start", runs)
    assert found["RMT: warm - cold"] == ["bpc", "-0.100", "", "1 and 1"]
    assert found["RMT: cold with 4,000 steps - warm with 2,000"][1] == "-0.100"


def test_the_grid_has_depths_at_each_memory_and_memories_at_each_depth():
    found = {what: cells[1] for what, cells in rows_of("grid", grid_runs()).items()}
    assert len(found) == 15
    assert found["memory 5: BPTT-1 - BPTT-0"] == "-10.00"
    assert found["memory 25: BPTT-3 - BPTT-1"] == "-80.00"
    assert found["BPTT-2: memory 25 - memory 1"] == "+24.00"


def test_a_mean_of_the_grid_has_the_interval_of_all_its_places():
    every = rows_of("grid", grid_runs() + grid_runs(seed=2, more=6))
    # Every place has a variance of 18, of its mean 9; one step of depth is worth 10.
    assert every["memory 1: BPTT-1 - BPTT-0"] == ["ppl", "-10.00", "± 18.26", "2 and 2"]
    assert every["all memories: BPTT-1 - BPTT-0"] == ["ppl", "-10.00", "± 4.89", "8 and 8"]


def test_tables_of_gaps_are_written_where_nothing_of_a_study_is_missing(runs, tmp_path):
    def written(found) -> set[str]:
        return {path.name for path in write_tables(found, tmp_path) if "-gaps" in path.name}

    runs += grid_runs()
    for run in runs:
        run.result.update(tokens=1, n_all_param=1, tokens_per_s=1.0)
    cold = STUDIES["warm_start"](True)[1]
    assert written([run for run in runs if not cold.fits(run)]) == {
        "grid-gaps.md",
        "segments-gaps.md",
        "segments_scaled-gaps.md",
    }
    assert written(runs) == {f"{name}-gaps.md" for name in GAPS}
