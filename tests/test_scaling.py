"""The measurements of cost, at small sizes: what they count, print and keep."""

import json
import os

import pytest

from programs import assert_one_sentence, run
from rmt import scaling


def test_training_and_evaluation_report_their_cost():
    for found, amount in (
        (scaling.train_segments(3), 3 * 8 * 64),
        (scaling.evaluate_tokens(1300), 1300),
    ):
        assert found["amount"] == amount
        assert found["seconds"] > 0
        assert found["peak_memory_bytes"] > 2**20


def test_every_word_is_written_and_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "N_TYPES", 60)
    scaling._write_words(tmp_path, 1000)
    words = (tmp_path / "train.txt").read_text().split()
    assert len(words) == 1000
    assert len(set(words)) == 60
    cores = os.sched_getaffinity(0)
    try:
        found = scaling.encode_words(str(tmp_path), 1000)
    finally:
        os.sched_setaffinity(0, cores)
    assert (found["amount"], found["note"]) == (1000, "61 types"), "with <eos>"


def test_a_run_in_processes_is_measured():
    core = min(os.sched_getaffinity(0))
    found = scaling.train_in_processes(1, 2, [core], tiny=True)
    assert found["amount"] == 8 * 128
    assert found["seconds"] > 0


def test_the_program_prints_a_table_and_keeps_the_measurements(tmp_path, monkeypatch):
    row = {"what": "x", "amount": 1200, "unit": "words", "seconds": 2.0}
    rows = [row, row | {"peak_memory_bytes": 3 * 2**20}]
    monkeypatch.setitem(scaling.MEASUREMENTS, "encoding", lambda share: rows if share == 0.5 else 0)
    out = tmp_path / "cost.json"
    outcome = run(scaling.main, "encoding", "--share", "0.5", "--out", out)
    assert outcome.out.splitlines()[2:] == [
        "| x | 1,200 words | 2.0 | 600 |  |",
        "| x | 1,200 words | 2.0 | 600 | 3 MiB |",
    ]
    assert json.loads(out.read_text())["results"] == rows


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("speed", "invalid choice: 'speed'"),
        ("stream --share 0", "share must be above 0"),
        ("", "required"),
    ],
)
def test_wrong_use_is_one_sentence(flags, expected):
    assert expected in assert_one_sentence(run(scaling.main, *flags.split()))
