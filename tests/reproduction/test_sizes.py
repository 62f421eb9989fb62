"""Runs that were tested on samples of several sizes."""

import json
from dataclasses import asdict

import pytest

from helpers.logged import run_of, write_task_run
from helpers.programs import assert_one_sentence, run
from rmt import figures, tables
from rmt.reproduction.studies.registry import STUDIES
from rmt.reproduction.write_results import write_figures, write_tables
from rmt.runs.logged_runs import finished_runs


def score(folder, pairs: int, accuracy: float):
    scores = [
        {"of": "valid", "sequence_accuracy": 0},
        {"of": "test", "sequence_accuracy": accuracy},
    ]
    record = {"samples": {"pairs": pairs, "key_len": 2, "value_len": 1}, "scores": scores}
    (folder / f"size-{pairs}.json").write_text(json.dumps(record))


@pytest.fixture
def folder(tmp_path):
    """Two seeds of one model, and one of another, that was tested on one size."""
    for model, seed, tested in (
        ("rmt", 1, {20: 0.5, 1000: 0.25}),
        ("rmt", 2, {20: 0.7, 1000: 0.25}),
        ("baseline", 1, {20: 0.0625}),
    ):
        place = tmp_path / "runs" / f"{model}-seed{seed}"
        write_task_run(place, "remember", model, 2 * (model == "rmt"), 21, 0.5, seed=seed, pairs=20)
        for pairs, accuracy in tested.items():
            score(place, pairs, accuracy)
    return tmp_path / "runs"


def test_the_table_has_a_row_for_each_model_and_a_column_for_each_size(folder):
    assert run(tables.main, "sizes", folder).out == (
        "| model | 20 | 1,000 |\n"
        "| --- | ---: | ---: |\n"
        "| baseline | 0.06 |  |\n"
        "| rmt, memory 2 | 0.60 ± 0.14 | 0.25 ± 0.00 |\n"
    )


def test_the_map(folder, tmp_path):
    out = tmp_path / "map.png"
    assert run(figures.main, "sizes", folder, "--out", out).out == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_shown(folder, tmp_path):
    untested = write_task_run(tmp_path / "untested", "remember", "baseline", pairs=20)
    message = assert_one_sentence(run(tables.main, "sizes", untested))
    assert f"{untested} has no size-*.json" in message
    damaged = folder / "rmt-seed1" / "size-20.json"
    damaged.write_text("{}")
    message = assert_one_sentence(run(tables.main, "sizes", folder))
    assert f"{damaged} holds no test scores on remember" in message


def test_the_tables_and_figures_of_studies_that_are_tested_by_size(tmp_path):
    for own in STUDIES["facts"](True)[:2]:
        logged = run_of(own, score=0.5)
        folder = tmp_path / "runs" / own.folder_name(1)
        folder.mkdir(parents=True)
        config = {"model": asdict(logged.model), "train": logged.train, "task": logged.task}
        (folder / "config.json").write_text(json.dumps(config))
        result = logged.result | {"segments": 7, "tgt_len": 64, "steps": 1, "seconds": 1}
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "metrics.jsonl").write_text("")
    record = {"samples": {"sample_len": 2048}}
    record["scores"] = [{"of": "test", "sequence_accuracy": 0.75}]
    (folder / "size-2048.json").write_text(json.dumps(record))
    runs = finished_runs(tmp_path / "runs")
    table = tmp_path / "tables" / "facts-sizes.md"
    assert table in write_tables(runs, tmp_path)
    assert table.read_text().endswith("| 0.75 |\n")
    assert table.read_text().count("\n") == 3  # the other one was not tested
    assert tmp_path / "figures" / "facts-sizes.png" in write_figures(runs, tmp_path)


def test_models_that_were_trained_on_several_sizes_say_on_which(folder):
    longer = write_task_run(folder / "longer", "remember", "rmt", 2, 51, 0.5, pairs=50)
    score(longer, 1000, 0.75)
    lines = run(tables.main, "sizes", folder).out.splitlines()
    assert "| rmt, memory 2, trained on 50 |  | 0.75 |" in lines
    assert "| rmt, memory 2, trained on 20 | 0.60 ± 0.14 | 0.25 ± 0.00 |" in lines
