"""BABILong by kind and length, from files of rmt.eval."""

import json

import pytest

from helpers.programs import assert_one_sentence, run
from rmt import figures, tables


def write(folder, kind: str, length: int, accuracy: float):
    path = folder / f"{kind}-{length}.json"
    scores = [
        {"of": "valid", "sequence_accuracy": 0},
        {"of": "test", "sequence_accuracy": accuracy},
    ]
    samples = {"questions": kind, "sample_len": length}
    path.write_text(json.dumps({"samples": samples, "scores": scores}))
    return path


@pytest.fixture
def files(tmp_path):
    cells = {("one", 1024): 0.994, ("one", 128): 1, ("two", 128): 0.5, ("two", 1024): 0.25}
    return [write(tmp_path, *place, accuracy) for place, accuracy in cells.items()]


def test_the_table(files):
    assert run(tables.main, "babilong", *files).out == (
        "| questions | 128 | 1,024 |\n"
        "| --- | ---: | ---: |\n"
        "| one | 100 | 99 |\n"
        "| two | 50 | 25 |\n"
        "| mean | 75 | 62 |\n"
    )


def test_what_is_missing_is_left_empty(files):
    out = run(tables.main, "babilong", *files[:3]).out
    assert "| two | 50 |  |" in out
    assert "| mean | 75 |  |" in out, "no mean of some"


def test_the_map(files, tmp_path):
    outcome = run(figures.main, "babilong", *files, "--out", tmp_path / "map.png")
    assert outcome.out == f"{tmp_path / 'map.png'}\n"
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_shown(files, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    again = tmp_path / "again.json"
    again.write_bytes(files[0].read_bytes())
    for wrong, message in (
        ([tmp_path / "other.json"], "other.json holds no test scores on babilong or facts"),
        ([tmp_path / "none.json"], "none.json holds no test scores"),
        ([*files, again], "again.json is of one with 1024 tokens, as another file is"),
    ):
        assert message in assert_one_sentence(run(tables.main, "babilong", *wrong))
